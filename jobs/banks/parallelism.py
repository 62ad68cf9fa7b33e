"""How the languages of one bank are trained on the workers that it has: plainly, or on a sharded backbone."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence

import torch

from jobs.banks.bank import Outcome, train_languages
from jobs.banks.batch_capacity import CHOSEN
from jobs.banks.language_learner import START
from jobs.banks.sharded.deepspeed_config import Stage, engine_settings
from jobs.banks.sharded.memory_model import Load, ModelSize, Parallelism, choose, model_size
from jobs.errors import Fault, InputError
from jobs.runtime.device_memory import available_bytes
from jobs.spec import LanguageAdapterSpec, LanguageCall, LoraConfig, Progress
from jobs.training.data_parallel import DataParallel

_STAGES: Mapping[str, Stage] = {"zero-2": 2, "zero-3": 3}


def train_in_parallel(
    calls: Sequence[LanguageCall], progress: Progress, team: DataParallel, scale: Parallelism
) -> Iterator[Outcome]:
    """Train the language adapters of `calls`, which share backbone, kind of adapter and training, as `scale` says.

    LoRA on a decoder follows the rule of `jobs.banks.sharded.memory_model`, and as many languages share a batch as
    fit; everything else trains plainly. What cannot fit is the outcome of every call, before anything is trained.
    """
    spec = calls[0].spec
    if not (isinstance(spec.adapter, LoraConfig) and spec.objective == "causal-lm"):
        if scale.sharding in _STAGES:
            yield from _all_fail(calls, _not_sharded(spec, scale))
            return
        yield from train_languages(calls, progress, scale.bank_size or CHOSEN, team)
        return
    try:
        size, load, room = _measured(calls[0], team, scale)
        sharding = choose(size, load, room, scale.sharding)
    except InputError as error:
        yield from _all_fail(calls, error)
        return
    if sharding in _STAGES:
        yield from _sharded(calls, progress, team, scale, _STAGES[sharding])
        return
    yield from train_languages(calls, progress, scale.bank_size or CHOSEN, team)


def _sharded(
    calls: Sequence[LanguageCall], progress: Progress, team: DataParallel, scale: Parallelism, stage: Stage
) -> Iterator[Outcome]:
    from jobs.banks.sharded.engine import ShardedEngine
    from jobs.banks.sharded.train import train_sharded

    spec = calls[0].spec
    if started := [call for call in calls if START in call.inputs]:
        todo = "train it on devices that hold the backbone whole (resources.sharding: none)"
        yield from _all_fail(
            started, InputError(Fault("sharded training starts from theta_pre alone", "start", todo=todo))
        )
        calls = [call for call in calls if START not in call.inputs]
        if not calls:
            return
    settings = engine_settings(spec.training, stage, team.size, torch.cuda.is_available(), scale.deepspeed)
    engine = ShardedEngine(spec.backbone, calls[0].inputs["theta_pre"], settings, spec.training.weight_decay)
    yield from train_sharded(calls, engine, progress, team)


def _measured(call: LanguageCall, team: DataParallel, scale: Parallelism) -> tuple[ModelSize, Load, int]:
    import peft

    training = call.spec.training
    on_gpu = torch.cuda.is_available()
    load = Load(2 if on_gpu else 4, -(-training.batch_size // team.size), training.max_length, team.size)
    adapter = peft.PeftConfig.from_pretrained(str(call.inputs["theta_pre"]))
    # The smallest device decides for all.
    device = torch.device("cuda" if on_gpu else "cpu")
    room = min(team.all_gather(scale.device_bytes or _room(device)))
    return model_size(call.spec.backbone, adapter), load, room


def _room(device: torch.device) -> int:
    """Free bytes of this worker's device; workers on one host without GPUs share its memory."""
    sharing = 1 if device.type == "cuda" else int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    return available_bytes(device) // sharing


def _not_sharded(spec: LanguageAdapterSpec, scale: Parallelism) -> InputError:
    got = f"{type(spec.adapter).__name__}, {spec.objective}"
    todo = "leave it at auto: other adapters' backbones fit one device"
    return InputError(Fault(f"{scale.sharding} trains LoRA on decoders by causal-lm", "resources.sharding", got, todo))


def _all_fail(calls: Sequence[LanguageCall], error: Exception) -> Iterator[Outcome]:
    yield from ((call.name, error) for call in calls)
