"""What a candidate is: weights of adapters, and the spaces that they are drawn from."""
