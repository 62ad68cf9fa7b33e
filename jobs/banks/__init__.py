"""Many languages' adapters trained at once on one frozen backbone."""
