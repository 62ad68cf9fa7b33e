"""The arithmetic of adapters: pure functions on mappings from tensor names to tensors."""
