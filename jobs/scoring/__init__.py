"""Scores of texts and spans, and how sure they are: bootstrap and jackknife."""
