"""Small random backbones and adapters on disk, made by the libraries themselves, for every kind and format."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path

import adapters
import torch
from peft import IA3Config, LoKrConfig, LoraConfig, PeftModel, PrefixTuningConfig, get_peft_model
from transformers import LlamaConfig, LlamaForCausalLM, XLMRobertaConfig

HUB_CONFIGS: Mapping[str, Callable[[], adapters.AdapterConfig]] = {
    "bottleneck": lambda: adapters.SeqBnConfig(reduction_factor=4),
    "madx": lambda: adapters.SeqBnInvConfig(reduction_factor=2, inv_adapter_reduction_factor=2),
    "parallel": lambda: adapters.ParBnConfig(),
    "learned_scaling": lambda: adapters.DoubleSeqBnConfig(reduction_factor=8, scaling="learned"),
    "lora": lambda: adapters.LoRAConfig(r=3, alpha=6, intermediate_lora=True),
    "ia3": lambda: adapters.IA3Config(),
    "prefix": lambda: adapters.PrefixTuningConfig(prefix_length=3, bottleneck_size=5),
    "flat_prefix": lambda: adapters.PrefixTuningConfig(prefix_length=3, flat=True),
}
PEFT_CONFIGS: Mapping[str, Callable[[], object]] = {
    "lora": lambda: LoraConfig(r=4, lora_alpha=8, target_modules=["q_proj", "up_proj"], task_type="CAUSAL_LM"),
    "rslora": lambda: LoraConfig(
        r=4,
        lora_alpha=8,
        use_rslora=True,
        target_modules=["q_proj", "up_proj"],
        rank_pattern={"layers.0.self_attn.q_proj": 2},
        alpha_pattern={"^model.layers.1.mlp.up_proj": 3},
        task_type="CAUSAL_LM",
    ),
    "lora_bias": lambda: LoraConfig(r=2, lora_bias=True, target_modules=["q_proj"], task_type="CAUSAL_LM"),
    "ia3": lambda: IA3Config(
        target_modules=["k_proj", "v_proj", "down_proj"], feedforward_modules=["down_proj"], task_type="CAUSAL_LM"
    ),
    "prefix": lambda: PrefixTuningConfig(num_virtual_tokens=3, task_type="CAUSAL_LM"),
    "lokr": lambda: LoKrConfig(r=8, alpha=4, target_modules=["q_proj", "up_proj"], task_type="CAUSAL_LM"),
    "lokr_factored": lambda: LoKrConfig(
        r=1, alpha=4, decompose_both=True, decompose_factor=4, target_modules=["q_proj", "up_proj"]
    ),
}


def hub_model(hidden: int = 32) -> adapters.XLMRobertaAdapterModel:
    """A tiny XLM-R with fixed random weights, in evaluation mode."""
    torch.manual_seed(0)
    config = XLMRobertaConfig(
        vocab_size=64,
        hidden_size=hidden,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=48,
        max_position_embeddings=40,
    )
    return adapters.XLMRobertaAdapterModel(config).eval()


def llama() -> LlamaForCausalLM:
    """A tiny Llama with fixed random weights, in evaluation mode."""
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=64,
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        intermediate_size=48,
    )
    return LlamaForCausalLM(config).eval()


def randomize(tensors: Mapping[str, torch.Tensor], seed: int) -> None:
    """Random values of a size that matters, in place; never zero."""
    generator = torch.Generator().manual_seed(seed)
    for name in sorted(tensors):
        noise = torch.rand(tensors[name].shape, generator=generator) * 0.4 + 0.05
        signs = torch.randint(0, 2, tensors[name].shape, generator=generator) * 2 - 1
        tensors[name].data.copy_(noise * signs)


def save_hub(directory: Path, kind: str, seed: int, name: str = "", labels: int = 0) -> Path:
    """Save an AdapterHub adapter of `kind` with random weights, by `model.save_adapter`."""
    model = hub_model()
    name = name or f"a{seed}"
    model.add_adapter(name, config=HUB_CONFIGS[kind]())
    if labels:
        model.add_tagging_head(name, num_labels=labels)
    own = {key: value for key, value in model.state_dict().items() if f".{name}." in key}
    randomize(own, seed)
    model.save_adapter(str(directory), name, with_head=bool(labels))
    return directory


def save_peft(directory: Path, kind: str, seed: int, dtype: torch.dtype = torch.float32) -> Path:
    """Save a PEFT adapter of `kind` with random weights, by `save_pretrained`."""
    model = get_peft_model(llama(), PEFT_CONFIGS[kind]())
    randomize({name: value for name, value in model.named_parameters() if value.requires_grad}, seed)
    model.to(dtype).save_pretrained(str(directory))
    return directory


def hub_outputs(directory: Path, head: bool = False) -> torch.Tensor:
    """What the tiny XLM-R computes with the adapter in `directory`, loaded by plain `adapters`."""
    model = hub_model()
    name = model.load_adapter(str(directory), with_head=head)
    model.set_active_adapters(name)
    model.eval()
    with torch.no_grad():
        output = model(tokens())
    return output.logits if head else output.last_hidden_state


def peft_outputs(directory: Path) -> torch.Tensor:
    """What the tiny Llama computes with the adapter in `directory`, loaded by plain `peft`."""
    model = PeftModel.from_pretrained(llama(), str(directory)).eval()
    with torch.no_grad():
        return model(tokens()).logits


def tokens() -> torch.Tensor:
    """Two sequences of seven tokens."""
    return torch.arange(14).reshape(2, 7) % 50 + 4


def write_recipe(path: Path, **document: object) -> Path:
    """A recipe as JSON, which is YAML."""
    document = {"lambda" if key == "lambda_" else key: value for key, value in document.items()}
    path.write_text(json.dumps(document, indent=1), encoding="utf-8")
    return path
