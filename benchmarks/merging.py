"""How fast adapters are merged: bytes per second against a memory copy of the same bytes and against peers.

    taskset -c 0 python benchmarks/merging.py --out benchmarks/results/merging.json

Every case runs in a process of its own, on one thread, and reports the best processor time of several repeats. Bytes
are those of all sources together; a memory copy moves the same bytes. Peak memory is the growth of the process's own
(anonymous) memory while the case runs: pages of memory-mapped files, which the system may drop, are not counted.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from merging_measure import SIZES, WEIGHTS, Result, peak_of, result, sources, timed, total_bytes
from merging_peers import case_average_adapter, case_mergekit, case_peft


def case_in_memory(size: str) -> list[Result]:
    """Linear merges in memory, in place and with new tensors, beside copies of the same bytes."""
    import torch

    from benchmarks.flat_sources import FlatSources
    from jobs.arithmetic.combine import linear
    from jobs.arithmetic.weighted_sum import weighted_sum_into

    states = sources(size)
    amount = total_bytes(states)
    copies = [{name: torch.empty_like(tensor) for name, tensor in state.items()} for state in states]
    out = copies[0]

    def copy() -> None:
        for source, target in zip(states, copies, strict=True):
            for name, tensor in source.items():
                target[name].copy_(tensor)

    def copy_new() -> None:
        # Kept until the end: memory freed at once would be handed out again, still in the cache.
        [tensor.clone() for state in states for tensor in state.values()]

    def existing() -> None:
        for name, target in out.items():
            weighted_sum_into(target, [state[name] for state in states], WEIGHTS)

    into_existing = timed(existing)
    flat = FlatSources(states)
    in_place = timed(lambda: flat.write_merge(WEIGHTS, out))
    memory_copy, fresh_copy = timed(copy), timed(copy_new)
    merged = timed(lambda: linear(states, WEIGHTS))
    peak = peak_of(lambda: linear(states, WEIGHTS))
    flat_bytes = flat.matrix.numel() * flat.matrix.element_size()
    return [
        result("memory copy into existing memory", size, memory_copy, amount),
        result("memory copy into new memory", size, fresh_copy, amount),
        result("linear, into existing tensors", size, into_existing, amount),
        result("linear, flat, in place", size, in_place, flat_bytes),
        result("linear, new tensors", size, merged, amount, peak),
    ]


def case_files(size: str) -> list[Result]:
    """Recipe to directory, with all checks, hashes and the card, beside a copy of the sources' files."""
    from jobs.merging.merge import merge

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        states = sources(size)
        for index, state in enumerate(states):
            save(folder / f"s{index}", state, size)
        amount, names = total_bytes(states), sorted(states[0])
        del states
        space = {} if "MAD-X" in size else {"space": "factors"}
        listed = [{"adapter": f"s{index}", "weight": weight} for index, weight in enumerate(WEIGHTS)]
        recipe = folder / "recipe.yaml"
        recipe.write_text(json.dumps({"method": "linear", "sources": listed, "name": "gl", **space}), encoding="utf-8")

        def run(recipe: Path = recipe) -> None:
            merge(recipe, folder / "out")
            shutil.rmtree(folder / "out")

        def copy() -> None:
            for index in range(len(WEIGHTS)):
                shutil.copytree(folder / f"s{index}", folder / "copy")
                shutil.rmtree(folder / "copy")

        copied = timed(copy, 3)
        seconds, peak = timed(run, 3), peak_of(run)
        lines = [
            result("copy of the sources' directories", size, copied, amount),
            result("recipe to directory, linear", size, seconds, amount, peak),
        ]
        if "LoRA" in size and "bfloat16" in size:
            for rank, what in ((None, "delta, exact by concatenation"), (64, "delta, truncated to rank 64")):
                more = {"rank": rank} if rank else {}
                document = {"method": "linear", "sources": listed, "name": "gl", "space": "delta", **more}
                recipe.write_text(json.dumps(document), encoding="utf-8")
                seconds, peak = timed(run, 1, warm=False), peak_of(run)
                line = result(f"recipe to directory, {what}", size, seconds, amount, peak)
                lines.append({**line, "modules": len(names) // 2})
        return lines


def save(directory: Path, state: dict[str, Any], size: str) -> None:
    """Write a source as a directory of its format."""
    from jobs.adapters.adapter import Adapter
    from jobs.adapters.formats import write_adapter

    if "MAD-X" in size:
        config: dict[str, Any] = {"config": {"reduction_factor": 2, "non_linearity": "relu"}, "hidden_size": 768}
        write_adapter(Adapter("bottleneck", "adapterhub", "s", config, state), directory)
    else:
        config = {"peft_type": "LORA", "r": 64, "lora_alpha": 128, "target_modules": "all-linear"}
        write_adapter(Adapter("lora", "peft", "s", config, state), directory)


CASES: Mapping[str, Callable[[], list[Result]]] = {
    **{f"memory: {size}": (lambda size=size: case_in_memory(size)) for size in SIZES},  # type: ignore[misc]
    "files: MAD-X": lambda: case_files("XLM-R base MAD-X, float32"),
    "files: LoRA": lambda: case_files("7B LoRA r=64, bfloat16"),
    "average_adapter": lambda: case_average_adapter("XLM-R base MAD-X, float32"),
    "mergekit float32": lambda: case_mergekit("XLM-R base MAD-X, float32"),
    "mergekit bfloat16": lambda: case_mergekit("7B LoRA r=64, bfloat16"),
    "peft linear": lambda: case_peft("linear", 4096, 4096),
    "peft cat": lambda: case_peft("cat", 4096, 4096),
    "peft svd 768": lambda: case_peft("svd", 768, 768),
    "peft svd 4096": lambda: case_peft("svd", 4096, 4096),
}


def machine() -> Result:
    """What the numbers were measured on."""
    import torch

    lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    model = next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "unknown")
    return {
        "cpu": model,
        "cores_used": len(os.sched_getaffinity(0)),
        "threads": torch.get_num_threads(),
        "load_average": os.getloadavg(),
        "torch": torch.__version__,
        "mergekit": "not measured: it merges whole models and is not among the dependencies",
    }


def main() -> None:
    """Run every case in its own process and write the JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--case", choices=list(CASES))
    parser.add_argument("--only", nargs="*", default=list(CASES))
    arguments = parser.parse_args()
    if arguments.case:
        print(json.dumps(CASES[arguments.case]()))
        return
    report: Result = {"machine": machine(), "results": []}
    for case in arguments.only:
        command = [sys.executable, __file__, "--case", case]
        done = subprocess.run(command, check=True, capture_output=True, text=True)
        lines = json.loads(done.stdout.splitlines()[-1])
        report["results"] += lines
        for line in lines:
            print(
                f"{line['gigabytes_per_second']:8.3f} GB/s {line['seconds']:10.4f} s  {line['what']} ({line['size']})"
            )
    if arguments.out:
        arguments.out.parent.mkdir(parents=True, exist_ok=True)
        arguments.out.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
