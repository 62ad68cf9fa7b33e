"""How the embedded backbone and the masked-LM head of e5-small were made, and random models for trying things."""
