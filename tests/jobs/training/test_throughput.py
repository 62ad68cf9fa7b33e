"""The count of operations against PyTorch's own counter."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode
from transformers import LlamaConfig, LlamaForCausalLM, XLMRobertaConfig, XLMRobertaForMaskedLM

from jobs.tokens.batches import Example
from jobs.training.throughput import Throughput, model_shape, peak_flops, training_flops


def _counted(model, length):
    """Forward, and the gradients of the embeddings alone."""
    embeddings = model.get_input_embeddings()(torch.arange(length)[None]).requires_grad_()
    with FlopCounterMode(display=False) as counter:
        model(inputs_embeds=embeddings).logits.sum().backward()
    return counter.get_total_flops()


@pytest.mark.parametrize("causal", [True, False])
def test_operations_are_those_that_torch_counts(causal):
    sizes = {
        "vocab_size": 96,
        "hidden_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "intermediate_size": 128,
    }
    eager = {"attn_implementation": "eager"}
    if causal:
        model = LlamaForCausalLM(LlamaConfig(**sizes, num_key_value_heads=2, **eager))
    else:
        model = XLMRobertaForMaskedLM(XLMRobertaConfig(**sizes, **eager))
    model.requires_grad_(False)
    length = 40
    row = Example(np.arange(length), np.arange(length), np.arange(length))
    shape = model_shape(model, causal)
    # Torch multiplies the whole square of scores.
    whole = training_flops(shape, [row]) + (12 * shape.attention * length**2 / 2 if causal else 0)
    # Rotary positions are one small product that the count leaves out.
    assert whole == pytest.approx(_counted(model, length), rel=1e-3)


def test_peaks_go_by_the_device_s_name_and_a_cpu_has_no_share_of_a_peak():
    assert peak_flops("NVIDIA H200") == 989e12 and peak_flops("NVIDIA L4") == 121e12
    assert peak_flops("NVIDIA H100 PCIe") == 756e12 and peak_flops("Some new device") is None
    model = XLMRobertaForMaskedLM(
        XLMRobertaConfig(vocab_size=9, hidden_size=8, num_hidden_layers=1, num_attention_heads=1)
    )
    meter = Throughput(model_shape(model, False), torch.device("cpu"), 1)
    meter.add([[Example(np.arange(4), np.arange(2), np.arange(2))]], 0.5)
    assert set(meter.live()) == {"memory_bytes"} and meter.record() == {}
