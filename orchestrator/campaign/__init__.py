"""The YAML file as frozen types, every fault of it at once."""
