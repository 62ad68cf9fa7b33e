"""One recipe turned into one merged adapter, step by step."""
