"""LoRA on backbones that do not fit one device: one DeepSpeed engine, languages one after another."""
