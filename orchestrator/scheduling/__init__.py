"""How long, in which order, and what fits: on paper, without Ray."""
