"""The one resumable training loop, its state, and task adapters."""
