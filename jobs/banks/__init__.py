"""Many languages' and tasks' adapters trained at once on one frozen backbone."""
