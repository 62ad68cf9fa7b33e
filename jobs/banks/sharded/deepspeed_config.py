"""DeepSpeed's configuration, made from the campaign; what a user adds may not contradict it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Literal

from jobs.errors import Fault, InputError
from jobs.spec import TrainingConfig

Stage = Literal[2, 3]

# What the campaign says already, in its own words; a second word on it could only agree or contradict.
_OF_THE_CAMPAIGN: Mapping[str, str] = {
    "train_batch_size": "training.batch_size",
    "train_micro_batch_size_per_gpu": "training.batch_size",
    "gradient_accumulation_steps": "training.gradient_accumulation",
    "gradient_clipping": "training.max_grad_norm",
    "optimizer": "training.learning_rate and training.weight_decay",
    "scheduler": "training.warmup_ratio",
    "zero_optimization.stage": "resources.sharding",
    "zero_optimization.offload_optimizer": "the adapter's optimizer is small and stays on the device",
    "bf16": "the device: bfloat16 on a GPU, float32 on a CPU",
    "fp16": "the device: bfloat16 on a GPU, float32 on a CPU",
}


def engine_settings(
    training: TrainingConfig, stage: Stage, workers: int, on_gpu: bool, extra: Mapping[str, Any]
) -> dict[str, Any]:
    """The configuration of one engine; `extra` is the user's, e.g. {"zero_optimization": {"offload_param": ...}}.

    Raises InputError for every setting of `extra` that differs from what the campaign says.
    """
    own = _own_settings(training, stage, workers, on_gpu)
    faults = list(contradictions(own, extra))
    if faults:
        raise InputError(*faults)
    zero = {**own["zero_optimization"], **extra.get("zero_optimization", {})}
    return {**extra, **own, "zero_optimization": zero}


def check_extra(training: TrainingConfig, sharding: str, workers: int, extra: Mapping[str, Any]) -> None:
    """Raise InputError for what of `extra` contradicts the campaign, whatever the devices will be."""
    stage: Stage = 2 if sharding == "zero-2" else 3
    own = _own_settings(training, stage, workers, bool(extra.get("bf16", {}).get("enabled")))
    if sharding == "auto":
        extra = {**extra, "zero_optimization": {**extra.get("zero_optimization", {}), "stage": stage}}
    faults = list(contradictions(own, extra))
    if faults:
        raise InputError(*faults)


def _own_settings(training: TrainingConfig, stage: Stage, workers: int, on_gpu: bool) -> dict[str, Any]:
    return {
        "train_micro_batch_size_per_gpu": -(-training.batch_size // workers),
        "gradient_accumulation_steps": training.gradient_accumulation,
        "gradient_clipping": training.max_grad_norm,
        "zero_optimization": {"stage": stage, "contiguous_gradients": True, "overlap_comm": on_gpu},
        "bf16": {"enabled": on_gpu},
        # The optimizer is torch's own AdamW, as in every other training of a campaign.
        "zero_allow_untested_optimizer": True,
        "zero_force_ds_cpu_optimizer": False,
        "wall_clock_breakdown": False,
        "steps_per_print": 1 << 30,
    }


def contradictions(own: Mapping[str, Any], extra: Mapping[str, Any]) -> Iterator[Fault]:
    """A fault for every setting of `extra` that differs from what the campaign says."""
    for path, says in _OF_THE_CAMPAIGN.items():
        key, _, inner = path.partition(".")
        wanted, given = own.get(key), extra.get(key)
        if inner and isinstance(given, Mapping):
            wanted, given = own[key].get(inner), given.get(inner)
        elif inner:
            given = None
        if given is not None and given != wanted:
            where = f"resources.deepspeed: {path}"
            yield Fault("this contradicts the campaign", where, repr(given), f"leave it out; it follows from {says}")
