"""A campaign becomes steps, and an index of what is compared with what."""
