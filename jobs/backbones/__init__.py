"""The backbone that ships with the project."""

from pathlib import Path


def embedded_backbone() -> Path:
    """The directory of the embedded backbone: config.json, model.safetensors, tokenizer files and its card."""
    return Path(__file__).resolve().parent / "cldr-mini"
