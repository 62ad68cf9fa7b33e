"""In which floating-point numbers models compute, by name: one rule for workers and for keys of what they score."""

from __future__ import annotations

from typing import Literal

Precision = Literal["float32", "bfloat16"]


def scoring_precision(device_type: str, encoder: bool) -> Precision:
    """Of the weights that score, on a device of this type ("cpu", "cuda").

    Encoders are scored in float32 everywhere, whatever their adapters, so that MAD-X and LoRA on one encoder are
    compared in one precision. Models that write are in bfloat16 on a GPU; the logits of what they are scored by are
    float32 all the same (`jobs.models.vocabulary_head`).
    """
    return "bfloat16" if device_type == "cuda" and not encoder else "float32"


def training_precision(device_type: str, encoder: bool) -> Precision:
    """Of the frozen weights below adapters of PEFT's kinds in training: an encoder is no exception there."""
    return "bfloat16" if device_type == "cuda" else "float32"
