"""One rank of a sharded training, to be called in a process of its own."""

from __future__ import annotations

import faulthandler
import os
import pickle
import sys
from pathlib import Path

import torch.distributed as dist

from jobs.spec import JobCall
from jobs.training import checkpoint

DIES_AT = 5  # optimizer steps


def train_by_stages(calls: dict[int, list[JobCall]], outcomes: Path, killed: list[JobCall] | None = None) -> None:
    """Train `calls`, ZeRO stage -> calls, each stage on an engine, and leave their outcomes.

    Then, with the last engine, train `killed` and die on the way, as the kernel ends a process.
    """
    from jobs.banks.sharded import train
    from jobs.banks.sharded.deepspeed_config import engine_settings
    from jobs.banks.sharded.engine import ShardedEngine
    from jobs.training.data_parallel import joined_data_parallel

    faulthandler.dump_traceback_later(110, exit=True)
    train.PROGRESS_SECONDS = 0.0
    dist.init_process_group("gloo")
    team = joined_data_parallel()

    def die(name: str, values: dict) -> None:
        if values["optimizer_step"] >= DIES_AT:
            os._exit(9)

    found = {}
    for stage, group in calls.items():
        spec = group[0].spec
        settings = engine_settings(spec.training, stage, team.size, False, {})
        engine = ShardedEngine(spec.backbone, group[0].inputs["theta_pre"], settings, spec.training.weight_decay)
        found[stage] = dict(train.train_sharded(group, engine, lambda name, values: None, team))
    if team.is_main:
        outcomes.write_bytes(pickle.dumps(found))
    if killed:
        checkpoint.SECONDS = 0.0
        list(train.train_sharded(killed, engine, die, team))
    # None leaves while another still talks to it; and then not by way of the interpreter's end, where threads that
    # DeepSpeed and gloo leave behind abort the process once in a while.
    dist.barrier()
    dist.destroy_process_group()
    sys.stdout.flush()
    os._exit(0)
