"""Frozen backbones and their passes, with the adapters of many languages in one batch."""
