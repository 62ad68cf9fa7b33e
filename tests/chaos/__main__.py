"""`python -m tests.chaos`: meet faults, one after another, and write down what became of each."""

from __future__ import annotations

import argparse
import json
import os
import secrets
import signal
import sys
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path

from tests.chaos.arena import Arena
from tests.chaos.campaigns import Outcome, drawn, meet_all
from tests.chaos.faults import LOCAL, SHORT, Fault
from tests.chaos.table import markdown


def main() -> int:
    """The number of faults that did not end well, at most 1 as an exit code."""
    options = _options()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # servers and workspaces are cleaned up
    with ExitStack() as stack, tempfile.TemporaryDirectory(prefix="chaos-", ignore_cleanup_errors=True) as folder:
        arena = Arena.made(Path(folder), options.bank_size, options.steps)
        faults = [one for one in _faults(options.only, Path(folder), stack) if options.named in one.name]
        assert faults, f"no fault is named like {options.named}"
        chosen = drawn(faults, options.rounds * len(faults) or options.faults, options.seed)
        outcomes: list[Outcome] = []
        for outcome in meet_all(arena, chosen):
            outcomes.append(outcome)
            print(
                f"{outcome.number:4} {outcome.fault:32} {outcome.seconds:6.1f} s  {outcome.problem or 'well'}",
                flush=True,
            )
            _write(options, outcomes)
        if options.append:
            text = options.append.read_text(encoding="utf-8")
            options.append.write_text(f"{text}\n{markdown(outcomes)}", encoding="utf-8")
    return int(any(outcome.problem for outcome in outcomes))


def _faults(only: str, folder: Path, stack: ExitStack) -> Sequence[Fault]:
    if only in ("local", "short"):
        return LOCAL if only == "local" else [fault for fault in LOCAL if fault.name in SHORT]
    if only == "ray":
        # Before Ray is imported: it reads them once.
        os.environ.update(RAY_AUTH_MODE="token", RAY_AUTH_TOKEN=secrets.token_hex(32), RAY_worker_niceness="0")
        from tests.chaos.ray_faults import ray_faults

        return stack.enter_context(ray_faults())
    from tests.chaos.served import bucket_faults, tracking_faults

    with_tracking, tracking = tracking_faults(folder / "tracking")
    stack.callback(tracking.send, 9)
    served = (*with_tracking, *stack.enter_context(bucket_faults(folder / "scratch")))
    return served if only == "served" else (*LOCAL, *LOCAL, *served)  # the cheap ones twice as often


def _write(options: argparse.Namespace, outcomes: Sequence[Outcome]) -> None:
    if options.json:
        document = {"seed": options.seed, "bank_size": options.bank_size, "only": options.only}
        options.json.write_text(
            json.dumps({**document, "outcomes": [asdict(one) for one in outcomes]}, indent=1) + "\n"
        )
    if options.table:
        options.table.write_text(f"# Faults\n\nWritten by `make chaos`.\n\n{markdown(outcomes)}", encoding="utf-8")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    parser.add_argument("--faults", type=int, default=200, help="how many")
    parser.add_argument("--rounds", type=int, default=0, help="every fault that often, instead of a number")
    parser.add_argument("--only", choices=["short", "local", "served", "ray", "all"], default="all")
    parser.add_argument("--named", default="", help="of those, the ones whose names hold this text")
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--bank-size", type=int, default=1, help="1: every byte must be the same; more: up to rounding")
    parser.add_argument("--steps", type=int, default=30, help="optimizer steps of each training")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--table", type=Path, help="Markdown, written anew")
    parser.add_argument("--append", type=Path, help="Markdown, its end")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
