"""Which backbones are trained plainly, and which are sharded: a model of memory, and a rule.

Per device, in bytes, for P backbone parameters of b bytes, T adapter parameters, W workers, and a batch share of r
rows of n tokens through L layers of width h with vocabulary V:

- weights: P b, of which ZeRO-3 keeps a W-th part and the layer at work (arXiv 1910.02054, section 5)
- adapter: weights in b and gradient, master copy and two moments in float32, T (b + 16); ZeRO-2 and ZeRO-3 keep a
  W-th part of all but weights and gradient
- activations: what backward needs of each layer, about 34 r n h + 5 r n^2 a bytes with 16-bit numbers and a heads
  (arXiv 2205.05198, section 4.1; fused attention does not keep the second part, and frozen weights need no inputs, so
  about half of the first), and the logits, r n V (b + 4)

ZeRO-2 shards what belongs to the adapter alone, so it helps where the adapter is large; ZeRO-3 shards the backbone.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal, get_args

from jobs.errors import Fault, InputError
from jobs.spec import BackboneRef

Sharding = Literal["none", "ddp", "zero-2", "zero-3"]
Choice = Literal["auto", "none", "ddp", "zero-2", "zero-3"]

# What the libraries, the allocator's gaps and communication buffers take away.
USABLE = 0.85
_FLOAT = 4
_KEPT_PER_ELEMENT = 17


@dataclass(frozen=True, slots=True)
class Parallelism:
    """What a campaign's resources say of how a bank is trained; never part of a spec.

    `deepspeed`: more of its settings. `bank_size`: languages that share a batch; 0: as many as memory and a short trial
    say (`jobs.banks.batch_capacity`). `device_bytes` 0: what each worker's device has left.
    """

    sharding: Choice = "auto"
    deepspeed: Mapping[str, Any] = field(default_factory=dict)
    bank_size: int = 0
    device_bytes: int = 0


@dataclass(frozen=True, slots=True)
class ModelSize:
    """What the memory model asks of a backbone with its adapter."""

    parameters: int
    trainable: int
    layers: int
    hidden: int
    vocabulary: int


@dataclass(frozen=True, slots=True)
class Load:
    """One worker's place and work: bytes of a weight, its rows of a batch, their length, the number of workers."""

    weight_bytes: int
    rows: int
    length: int
    workers: int


def model_size(ref: BackboneRef, adapter: Any) -> ModelSize:
    """The size of a backbone with an adapter of this PEFT configuration, without reading a weight.

    Counted on a model whose tensors have shapes and no storage. Raises InputError for files that are not `ref`'s.
    """
    import peft
    from accelerate import init_empty_weights
    from transformers import AutoModelForCausalLM

    from jobs.models.files import model_files, read_config

    config = read_config(model_files(ref, weights=False))
    with init_empty_weights():
        model: Any = AutoModelForCausalLM.from_config(config, trust_remote_code=False)
        model.tie_weights()
        model.requires_grad_(False)
        parameters = sum(one.numel() for one in model.parameters())
        # A saved configuration is one for inference, whose adapter is frozen.
        training = replace(adapter, inference_mode=False)
        wrapped = peft.get_peft_model(model, training, autocast_adapter_dtype=False)
    trainable = sum(one.numel() for one in wrapped.parameters() if one.requires_grad)
    text = config.get_text_config()
    return ModelSize(parameters, trainable, text.num_hidden_layers, text.hidden_size, text.vocab_size)


def memory(size: ModelSize, load: Load, sharding: Sharding) -> int:
    """Bytes that one device needs at most."""
    parts = load.workers if sharding in ("zero-2", "zero-3") else 1
    weights = size.parameters * load.weight_bytes
    if sharding == "zero-3":
        weights = weights // load.workers + weights // max(1, size.layers)
    adapter = size.trainable * (load.weight_bytes + _FLOAT + 3 * _FLOAT // parts)
    tokens = load.rows * load.length
    activations = tokens * size.hidden * size.layers * _KEPT_PER_ELEMENT * load.weight_bytes // 2
    logits = tokens * size.vocabulary * (load.weight_bytes + _FLOAT)
    return weights + adapter + activations + logits


def choose(size: ModelSize, load: Load, device_bytes: int, wanted: Choice = "auto") -> Sharding:
    """The first that fits of: plain (DDP with several workers), ZeRO-2, ZeRO-3; or what is `wanted`.

    Raises InputError, with the sizes, when nothing fits or when what is wanted does not.
    """
    room = int(device_bytes * USABLE)
    plain: Sharding = "ddp" if load.workers > 1 else "none"
    candidates: tuple[Sharding, ...] = (plain, "zero-2", "zero-3") if wanted == "auto" else (wanted,)
    for sharding in candidates:
        if memory(size, load, sharding) <= room:
            return sharding
    needs = ", ".join(f"{one} {_gib(memory(size, load, one))}" for one in candidates)
    todo = "use more workers per bank (ZeRO-3 divides the backbone among them), a smaller batch, or larger devices"
    got = f"{needs} of {_gib(room)} usable on each device"
    raise InputError(Fault("the training does not fit the device's memory", "resources.sharding", got, todo))


def check_workers(sharding: Choice, workers: int) -> None:
    """Raise InputError for a sharding that has nothing to share or, being none, several workers."""
    assert sharding in get_args(Choice)
    if sharding in ("ddp", "zero-2", "zero-3") and workers < 2:
        todo = "raise resources.workers_per_bank, or leave resources.sharding at auto"
        raise InputError(Fault(f"{sharding} needs several workers", "resources.workers_per_bank", str(workers), todo))
    if sharding == "none" and workers > 1:
        todo = "say ddp, or set resources.workers_per_bank to 1"
        raise InputError(Fault("several workers without sharding are DDP", "resources.sharding", sharding, todo))


def _gib(count: int) -> str:
    return f"{count / 2**30:.1f} GiB"
