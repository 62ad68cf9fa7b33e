"""Training of language adapters against a plain transformers Trainer with `adapters`, and how it scales.

    python benchmarks/training.py --out benchmarks/results/training.json
    python benchmarks/training.py --backbone e5-small --out benchmarks/results/training-e5-small.json

Every measurement runs in a process of its own; both sides use the same backbone, blocks of tokens, adapter, optimizer
and number of threads. A step's time is the median after two steps to warm up. The Trainer does what the paper's
script does: vocabulary head on every position, one process for each language. The blocks are full, so it pads nothing
and has no disadvantage from padding. Processor time stands beside wall-clock: on a machine that others use too it is
the one that can be compared. Cases that need a GPU say so when there is none.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "benchmarks")]

Result = dict[str, Any]
BANKS = {"quickstart": (1, 4, 16, 32), "e5-small": (1, 4, 8)}
FLEETS = {"quickstart": (16, 40), "e5-small": (8, 12)}  # languages, optimizer steps of each
LINEAR, LINEAR_STEPS = (8, 32, 128), 4
CORES = len(os.sched_getaffinity(0))
THREADS = int(os.environ.get("BENCHMARK_THREADS", CORES))


def run(what: str, folder: Path, threads: int = THREADS, **environment: str) -> Result:
    """One measurement in a process of its own; with its wall-clock, start-up included."""
    begun = time.perf_counter()
    process = start(what, folder, threads, **environment)
    out, errors = process.communicate()
    if process.returncode:
        raise RuntimeError(f"{what}: {errors[-2000:]}")
    return {**json.loads(out.splitlines()[-1]), "wall_clock": time.perf_counter() - begun}


def start(what: str, folder: Path, threads: int, **environment: str) -> subprocess.Popen[str]:
    """Begin a measurement."""
    command = [sys.executable, __file__, "--measure", what, "--folder", str(folder)]
    variables = {**os.environ, "OMP_NUM_THREADS": str(threads), "TOKENIZERS_PARALLELISM": "false", **environment}
    return subprocess.Popen(command, env=variables, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def case_step(shape: str, folder: Path) -> list[Result]:
    """One language: time, speed and memory of a step on both sides."""
    ours, theirs = run(f"ours|{shape}|1", folder), run(f"trainer|{shape}", folder)
    return [
        {"what": "step of one language", "shape": shape, "side": "adapterfleet", **ours},
        {"what": "step of one language", "shape": shape, "side": "Trainer with adapters", **theirs},
        {
            "what": "times faster per optimizer step",
            "shape": shape,
            "value": theirs["processor_seconds_per_step"] / ours["processor_seconds_per_step"],
            "value_in_wall_clock": theirs["seconds_per_step"] / ours["seconds_per_step"],
            "memory_ratio": theirs["peak_mib"] / ours["peak_mib"],
        },
    ]


def case_banks(shape: str, folder: Path) -> list[Result]:
    """Banks of several languages: time and memory of each language."""
    lines = []
    for size in BANKS[shape]:
        found = run(f"ours|{shape}|{size}", folder)
        each = found["peak_mib"] / size
        lines.append({"what": "bank", "shape": shape, **found, "peak_mib_per_language": each})
    return lines


def case_fleet(shape: str, folder: Path) -> list[Result]:
    """Languages from nothing to saved adapters, start-up included, on all cores."""
    languages, steps = FLEETS[shape]
    run(f"ours|{shape}|{languages}", folder)  # tokenized before either side begins
    used = processor_seconds()
    # As many processes as cores, one thread each: the best use of the machine by either side.
    ours, banks = side_by_side([f"fleet|{shape}|{part}|{CORES}|{languages}|{steps}" for part in range(CORES)], folder)
    our_processor, used = processor_seconds() - used, processor_seconds()
    theirs, lone = side_by_side([f"lone|{shape}|{number}|{steps}" for number in range(languages)], folder)
    our_memory = sum(bank["peak_mib"] for bank in banks) / languages
    their_memory = statistics.mean(one["peak_mib"] for one in lone)
    return [
        {
            "what": f"{languages} languages, {steps} optimizer steps each, start-up included",
            "shape": shape,
            "adapterfleet_seconds": ours,
            "trainer_seconds": theirs,
            "times_faster": theirs / ours,
            "adapterfleet_processor_seconds": our_processor,
            "trainer_processor_seconds": processor_seconds() - used,
            "adapterfleet_peak_mib_per_language": our_memory,
            "trainer_peak_mib_per_language": their_memory,
            "memory_ratio": their_memory / our_memory,
        }
    ]


def side_by_side(measurements: Sequence[str], folder: Path) -> tuple[float, list[Result]]:
    """Seconds that all of them take, as many at once as there are cores, one thread each; and what they found."""
    begun, waiting, active, found = time.perf_counter(), list(measurements), list[subprocess.Popen[str]](), []
    while waiting or active:
        while waiting and len(active) < CORES:
            active.append(start(waiting.pop(0), folder, 1))
        for process in [one for one in active if one.poll() is not None]:
            out, errors = process.communicate()
            if process.returncode:
                raise RuntimeError(errors[-2000:])
            found.append(json.loads(out.splitlines()[-1]))
            active.remove(process)
        time.sleep(0.05)
    return time.perf_counter() - begun, found


def processor_seconds() -> float:
    """Of all processes that have ended."""
    found = resource.getrusage(resource.RUSAGE_CHILDREN)
    return found.ru_utime + found.ru_stime


def case_linear(folder: Path) -> list[Result]:
    """Cost of more languages, start-up excluded: banks of at most 16 in turn."""
    lines = [run(f"linear|{count}|{LINEAR_STEPS}", folder) for count in LINEAR]
    return [{"what": "cost of more languages", "shape": "quickstart", **line} for line in lines]


def case_scaling(shape: str, languages: int, folder: Path) -> list[Result]:
    """One worker of a bank to two, each on one thread: efficiency, and where the rest of the time goes."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    common = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "WORLD_SIZE": "2"}
    run(f"ours|{shape}|{languages}", folder, threads=1)  # tokenized before both workers begin
    pair = [start(f"team|{shape}|{languages}", folder, 1, RANK=str(rank), **common) for rank in range(2)]
    outputs = [process.communicate() for process in pair]
    if any(process.returncode for process in pair):
        raise RuntimeError(outputs[0][1][-2000:] + outputs[1][1][-2000:])
    found = json.loads(outputs[0][0].splitlines()[-1])
    return [{"what": "one worker of a bank to two", "shape": shape, **found}]


def case_two_banks(languages: int, folder: Path) -> list[Result]:
    """Two banks of one worker each, as a campaign has them by default, against one bank alone on the machine."""
    alone = run(f"ours|quickstart|{languages}", folder, threads=1)
    _, both = side_by_side([f"ours|quickstart|{languages}"] * 2, folder)
    slower = statistics.mean(one["seconds_per_step"] for one in both)
    return [
        {
            "what": "one bank to two, of one worker each",
            "shape": "quickstart",
            "languages_of_each": languages,
            "seconds_per_step_of_one": alone["seconds_per_step"],
            "seconds_per_step_of_two": slower,
            "efficiency": alone["seconds_per_step"] / slower,
        }
    ]


def case_gpu(folder: Path) -> list[Result]:
    """Banks of XLM-R base shapes, and LoRA on a 7B backbone, plain and sharded."""
    import torch

    if not torch.cuda.is_available():
        what = "XLM-R base banks of 1, 4, 16 and Llama-7B shapes with LoRA r=4, plain, ZeRO-2, ZeRO-3"
        return [{"what": what, "measured": False, "why": "no GPU"}]
    wide = "XLM-R base, vocabulary 250,002"
    lines = [
        {"what": "bank on a GPU", "shape": wide, **run(f"ours|{wide}|{size}", folder)} for size in BANKS["quickstart"]
    ]
    for sharding in ("none", "zero-2", "zero-3"):
        lines.append({"what": "LoRA r=4, Llama-7B shapes, bfloat16", **run(f"llama|{sharding}", folder)})
    return lines


def measure(what: str, folder: Path) -> Result:
    """In the measured process."""
    import torch
    import training_cases as cases

    kind, *rest = what.split("|")
    torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))
    if "RANK" in os.environ:
        torch.distributed.init_process_group("gloo")
    match kind:
        case "ours":
            return cases.time_ours(cases.SHAPES[rest[0]], int(rest[1]), folder)
        case "team":
            from training_team import time_team

            return time_team(cases.SHAPES[rest[0]], int(rest[1]), folder)
        case "trainer":
            return cases.time_trainer(cases.SHAPES[rest[0]], folder)
        case "lone":
            cases.run_trainer(cases.SHAPES[rest[0]], folder, cases.LANGUAGES[int(rest[1])], int(rest[2]))
            return cases.peak_memory()
        case "fleet":
            return cases.train_fleet(cases.SHAPES[rest[0]], *map(int, rest[1:]), folder)
        case "peak":
            from training_peak import share_of_peak

            return share_of_peak(cases.SHAPES[rest[0]], folder)
        case "tasks":
            from training_tasks import time_tasks

            return time_tasks(cases.SHAPES[rest[0]], int(rest[1]), folder)
        case "linear":
            return cases.time_linear(int(rest[0]), int(rest[1]), folder)
        case "llama":
            from training_gpu import time_llama

            return time_llama(rest[0], folder)
        case _:
            raise ValueError(what)


def case_peak(shape: str, folder: Path) -> list[Result]:
    """How much of what the machine's matrix products reach at the same shapes a step and a scoring pass reach."""
    return [{"what": "share of the peak", "shape": shape, **run(f"peak|{shape}", folder)}]


def case_tasks(shape: str, tasks: int, folder: Path) -> list[Result]:
    """Task adapters with heads in one bank against the same ones one after another."""
    what = f"{tasks} task adapters in one bank, to one after another"
    return [{"what": what, "shape": shape, **run(f"tasks|{shape}|{tasks}", folder)}]


CASES: Mapping[str, Callable[[Path], list[Result]]] = {
    "step: XLM-R base": lambda folder: case_step("XLM-R base, vocabulary 250,002", folder),
    "step: quickstart": lambda folder: case_step("quickstart", folder),
    "banks": lambda folder: case_banks("quickstart", folder),
    "fleet": lambda folder: case_fleet("quickstart", folder),
    "linear": case_linear,
    "tasks: quickstart": lambda folder: case_tasks("quickstart", 8, folder),
    "tasks: XLM-R base": lambda folder: case_tasks("XLM-R base, vocabulary 250,002", 8, folder),
    "scaling: banks": lambda folder: case_two_banks(8, folder),
    "scaling: quickstart": lambda folder: case_scaling("quickstart", 8, folder),
    "scaling: XLM-R base": lambda folder: case_scaling("XLM-R base, vocabulary 250,002", 1, folder),
    "gpu": case_gpu,
}
E5_SMALL: Mapping[str, Callable[[Path], list[Result]]] = {
    "step: e5-small": lambda folder: case_step("e5-small", folder),
    "banks: e5-small": lambda folder: case_banks("e5-small", folder),
    "fleet: e5-small": lambda folder: case_fleet("e5-small", folder),
    "tasks: e5-small": lambda folder: case_tasks("e5-small", 8, folder),
    "peak: e5-small": lambda folder: case_peak("e5-small", folder),
}


def machine() -> Result:
    """What the numbers were measured on."""
    import torch
    import transformers

    lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    model = next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "unknown")
    versions = {"torch": torch.__version__, "transformers": transformers.__version__}
    return {"cpu": model, "cores": CORES, "load_average_before": os.getloadavg(), **versions}


def main() -> None:
    """Run the cases and write the JSON after each, so that an interrupted run keeps what it has."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--backbone", choices=("embedded", "e5-small"), default="embedded")
    parser.add_argument("--only", nargs="*", help="some of the cases alone")
    parser.add_argument("--measure", help="internal: one measurement in this process")
    parser.add_argument("--folder", type=Path)
    arguments = parser.parse_args()
    if arguments.measure:
        print(json.dumps(measure(arguments.measure, arguments.folder)))
        return
    cases = E5_SMALL if arguments.backbone == "e5-small" else CASES
    report: Result = {"machine": machine(), "results": []}
    with tempfile.TemporaryDirectory() as name:
        folder = arguments.folder or Path(name)
        for case in arguments.only or cases:
            for line in cases[case](folder):
                report["results"].append(line)
                print(json.dumps(line))
            if arguments.out:
                arguments.out.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
