"""Rows of corpora and tasks, from the CLDR, disk and hub; no tokens."""
