"""The driver's side of one search step: its trials, its scores, its winner."""
