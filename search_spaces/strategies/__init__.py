"""How a space is searched: objects that are asked for trials and told their scores. No Ray, no clock, no disk."""
