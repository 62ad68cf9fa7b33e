"""Adapters of PEFT's kinds inside a frozen transformers model, many at once, each applied to its own rows."""
