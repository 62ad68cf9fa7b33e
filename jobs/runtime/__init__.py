"""What a process does beside its work: its log, secrets kept out, leaving in order, caches, memory."""
