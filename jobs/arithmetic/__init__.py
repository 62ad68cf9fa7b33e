"""Adapter vectors as tensors: pure functions, each with its paper's equation."""
