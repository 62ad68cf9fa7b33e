"""PEFT's kinds of adapters in any model, each row under its own tensors."""
