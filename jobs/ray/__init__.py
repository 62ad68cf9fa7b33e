"""What runs inside Ray: trainings, tokenizing tasks, warm workers, the mailbox."""
