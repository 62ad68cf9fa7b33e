"""The ready-set loop, what executes a step, and how a run is told."""
