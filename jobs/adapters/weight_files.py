"""The files that hold an adapter directory's weights. Names alone: nothing is imported that reads tensors."""

from __future__ import annotations

from collections.abc import Collection

# Of each format in the order of authority: the safetensors file, then the pickle of the same tensors.
ADAPTERHUB_WEIGHTS = ("adapter.safetensors", "pytorch_adapter.bin")
ADAPTERHUB_HEAD_WEIGHTS = ("model_head.safetensors", "pytorch_model_head.bin")
PEFT_WEIGHTS = ("adapter_model.safetensors", "adapter_model.bin")


def weights_file(names: Collection[str]) -> str:
    """The one of a directory's file `names` that says what the adapter's weights are; "" where there is none.

    A prediction head lies in a file of its own and is not meant.
    """
    return next((name for name in (*ADAPTERHUB_WEIGHTS, *PEFT_WEIGHTS) if name in names), "")


def is_peft(names: Collection[str]) -> bool:
    """Whether a directory with these file `names` holds an adapter that PEFT loads."""
    return weights_file(names) in PEFT_WEIGHTS
