"""Who proposes the next candidate: strategies by ask and tell."""
