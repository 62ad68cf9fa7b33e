"""Ray clusters of others: connect, submit, follow, stop."""
