"""What each task asks of a model, and the head that answers."""
