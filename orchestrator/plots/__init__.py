"""Figures; the only place of matplotlib."""
