"""What vLLM serves: its ranks, its architectures, and which adapters it refuses or would compute wrongly.

From its documentation (features/lora, models/supported_models) and from its loader as of 0.10 to 0.32
(`config/lora.py`, `lora/peft_helper.py`, `lora/lora_model.py`). Versions that do not know a setting pass over it, and
so compute something else: what one version refuses is refused here for all. Patterns of ranks and scalings are such a
setting; `jobs.merging.served` writes adapters without them.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from jobs.adapters.adapter import Adapter, Kind
from jobs.adapters.lora_modules import PLAIN_INITS
from jobs.errors import Fault

# `max_lora_rank`: every version takes these; newer ones also 1.
RANKS = (8, 16, 32, 64, 128, 256, 320, 512)
# `model_type` of the architectures that its table of models ticks for LoRA, of those that are backbones here.
MODEL_TYPES = frozenset({
    "apertus", "arcee", "cohere", "cohere2", "deepseek_v2", "deepseek_v3", "ernie4_5", "ernie4_5_moe", "exaone4",
    "falcon_h1", "gemma", "gemma2", "gemma3_text", "glm", "glm4", "glm4_moe", "gpt_bigcode", "gpt_oss", "granite",
    "granitemoe", "granitemoehybrid", "granitemoeshared", "hunyuan_v1_dense", "hunyuan_v1_moe", "jamba", "lfm2",
    "llama", "longcat_flash", "mistral", "mixtral", "nemotron", "olmo", "olmo2", "olmo3", "opt", "phi", "phi3",
    "phimoe", "qwen2", "qwen2_moe", "qwen3", "qwen3_moe", "qwen3_next", "seed_oss", "smollm3", "starcoder2",
    "vaultgemma",
})  # fmt: skip
_NOT_SERVED = "vLLM cannot serve this adapter"
_KINDS: Mapping[Kind, str] = {
    "bottleneck": "it stands between the layers, and vLLM serves low-rank changes of weights alone",
    "prefix": "it is keys and values of its own, and vLLM serves low-rank changes of weights alone",
    "ia3": "factors on activations change weights by no low rank, which is what vLLM serves",
}
_SETTINGS: Mapping[str, str] = {
    "use_dora": "DoRA normalizes the whole weight, which vLLM does not do",
    "lora_bias": "vLLM adds no bias of B",
    "alora_invocation_tokens": "activated LoRA acts after some tokens alone, and in vLLM on all of them",
    "layer_replication": "vLLM replicates no layers",
    "target_parameters": "updates of bare parameters have another layout in vLLM",
    "trainable_token_indices": "vLLM keeps the backbone's rows of these tokens",
    "use_bdlora": "vLLM has no block-diagonal LoRA",
    "use_qalora": "vLLM pools no inputs",
    "kasa_config": "vLLM adds up A and B alone",
    "arrow_config": "vLLM routes no tokens",
    "monteclora_config": "vLLM draws no weights",
}
_FACTOR = re.compile(r"base_model\.model\..+\.lora_[AB]\.weight")
_EMBEDDINGS = re.compile(r".*\.(lora_embedding_[AB]|(lm_head|embed_out)\.lora_[AB]\.weight)")


def serving_faults(adapter: Adapter, model_type: str) -> list[Fault]:
    """Every reason why vLLM cannot serve the adapter. `model_type`: of its backbone; "" where that is not known.

    LoKr is no reason: it can be written as LoRA.
    """
    if adapter.kind in _KINDS:
        return [Fault(_NOT_SERVED, adapter.label, adapter.kind, _KINDS[adapter.kind])]
    if adapter.format != "peft":
        reason = "vLLM reads PEFT's directories, in which modules have other names"
        return [Fault(_NOT_SERVED, adapter.label, f"{adapter.kind} of AdapterHub", reason)]
    return [Fault(_NOT_SERVED, adapter.label, got, reason) for got, reason in _reasons(adapter, model_type)]


def _reasons(adapter: Adapter, model_type: str) -> Iterator[tuple[str, str]]:
    """What was found, and why it cannot be served."""
    if model_type and model_type not in MODEL_TYPES:
        yield f"a backbone of type {model_type}", "vLLM serves LoRA on decoders such as Llama, Qwen, Gemma and Mistral"
    settings = adapter.settings
    for key, reason in _SETTINGS.items():
        if settings.get(key):
            yield key, reason
    if settings.get("bias", "none") != "none":
        yield f"bias: {settings['bias']}", "vLLM keeps the backbone's biases"
    if adapter.kind == "lora" and (initial := settings.get("init_lora_weights", True)) not in PLAIN_INITS:
        yield f"init_lora_weights: {initial}", "it changes the backbone's own weights: convert it to plain LoRA first"
    if adapter.head is not None or settings.get("modules_to_save"):
        named = settings.get("modules_to_save") or sorted(adapter.head.tensors if adapter.head else ())[:1]
        yield f"modules_to_save: {', '.join(named)}", "vLLM takes no modules that were trained whole"
    yield from _tensor_reasons(adapter)


def _tensor_reasons(adapter: Adapter) -> Iterator[tuple[str, str]]:
    names = sorted(adapter.tensors) if adapter.kind == "lora" else []
    if embedded := [name for name in names if _EMBEDDINGS.fullmatch(name)]:
        yield embedded[0], "vLLM takes LoRA on embeddings in some of its models alone, and not in all versions"
    elif others := [name for name in names if not _FACTOR.fullmatch(name)]:
        yield others[0], "vLLM reads factors A and B alone"
    elif filters := [name for name in names if adapter.tensors[name].dim() != 2]:
        yield filters[0], "vLLM has no LoRA on convolutions"
