"""One stack of adapters scored on one split."""
