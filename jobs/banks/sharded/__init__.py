"""Banks whose backbone is sharded by DeepSpeed, and the rule that chooses it."""
