"""Corpora and task sets at pinned revisions."""
