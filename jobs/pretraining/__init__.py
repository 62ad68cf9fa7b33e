"""How the embedded backbone was made, and random models for trying things."""
