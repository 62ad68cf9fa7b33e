"""Faults, for real, on a small campaign: each must end with the records and weights of an undisturbed run."""
