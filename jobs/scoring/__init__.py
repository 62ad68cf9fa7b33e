"""Scores of texts against gold texts: pure functions on strings."""
