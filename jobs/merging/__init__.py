"""Recipes to merged adapters, in the space that each kind is added in."""
