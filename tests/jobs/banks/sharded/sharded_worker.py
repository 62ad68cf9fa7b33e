"""One rank of a sharded training: trains the calls of a pickle with ZeRO-2, then with ZeRO-3.

Arguments: a pickle of {stage: calls}, where rank 0 leaves the outcomes, the optimizer step to die at (0: none).
"""

from __future__ import annotations

import os
import pickle
import sys
from pathlib import Path

import torch.distributed as dist

from jobs.banks.sharded import train
from jobs.banks.sharded.deepspeed_config import engine_settings
from jobs.banks.sharded.engine import ShardedEngine
from jobs.banks.sharded.train import train_sharded
from jobs.training import checkpoint
from jobs.training.data_parallel import joined_data_parallel


def main() -> None:
    """Train and leave the outcomes."""
    import faulthandler

    faulthandler.dump_traceback_later(110, exit=True)
    checkpoint.SECONDS = float(os.environ.get("EVERY", "20"))
    train.PROGRESS_SECONDS = 0.0
    dist.init_process_group("gloo")
    team = joined_data_parallel()
    stop_at = int(sys.argv[3])

    def progress(name: str, values: object) -> None:
        """Die in the middle of a training, when told to."""
        if stop_at and values["optimizer_step"] >= stop_at:  # type: ignore[index]
            os._exit(9)

    outcomes = {}
    for stage, calls in pickle.loads(Path(sys.argv[1]).read_bytes()).items():  # noqa: S301 - written by the test
        spec = calls[0].spec
        settings = engine_settings(spec.training, stage, team.size, False, {})
        engine = ShardedEngine(spec.backbone, calls[0].inputs["theta_pre"], settings, spec.training.weight_decay)
        outcomes[stage] = dict(train_sharded(calls, engine, progress, team))
    if team.is_main:
        Path(sys.argv[2]).write_bytes(pickle.dumps(outcomes))
    # None leaves while another still talks to it; and then not by way of the interpreter's end, where threads that
    # DeepSpeed and gloo leave behind abort the process once in a while.
    dist.barrier()
    dist.destroy_process_group()
    sys.stdout.flush()
    os._exit(0)


main()
