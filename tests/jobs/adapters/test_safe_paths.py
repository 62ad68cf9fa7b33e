from __future__ import annotations

import adapters.utils
import peft.utils
import pytest

from jobs.adapters.safe_paths import ADAPTERHUB_HEAD_WEIGHTS, ADAPTERHUB_WEIGHTS, PEFT_WEIGHTS, is_peft, weights_file


def test_the_names_are_those_of_the_libraries() -> None:
    hub = (adapters.utils.SAFE_WEIGHTS_NAME, adapters.utils.WEIGHTS_NAME)
    heads = (adapters.utils.SAFE_HEAD_WEIGHTS_NAME, adapters.utils.HEAD_WEIGHTS_NAME)
    theirs = (peft.utils.SAFETENSORS_WEIGHTS_NAME, peft.utils.WEIGHTS_NAME)
    assert (hub, heads, theirs) == (ADAPTERHUB_WEIGHTS, ADAPTERHUB_HEAD_WEIGHTS, PEFT_WEIGHTS)


@pytest.mark.parametrize(
    ("names", "found", "peft_loads_it"),
    [
        (
            ("README.md", "adapter.safetensors", "pytorch_adapter.bin", "model_head.safetensors"),
            "adapter.safetensors",
            0,
        ),
        (("pytorch_adapter.bin", "pytorch_model_head.bin"), "pytorch_adapter.bin", 0),
        (("adapter_config.json", "adapter_model.bin", "adapter_model.safetensors"), "adapter_model.safetensors", 1),
        (("adapter_model.bin",), "adapter_model.bin", 1),
        (("model_head.safetensors", "winner.json"), "", 0),
    ],
)
def test_the_authoritative_file_is_found(names: tuple[str, ...], found: str, peft_loads_it: int) -> None:
    assert weights_file(names) == found
    assert is_peft(names) == bool(peft_loads_it)
