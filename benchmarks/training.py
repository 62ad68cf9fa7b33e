"""Training of language adapters against a plain transformers Trainer with `adapters`, and how it scales.

    python benchmarks/training.py --out benchmarks/results/training.json

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
BANKS = (1, 4, 16, 32)
FLEET, FLEET_STEPS = 16, 40
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


def case_banks(folder: Path) -> list[Result]:
    """Banks of several languages at the quickstart's size: time and memory of each language."""
    lines = []
    for size in BANKS:
        found = run(f"ours|quickstart|{size}", folder)
        each = found["peak_mib"] / size
        lines.append({"what": "bank", "shape": "quickstart", **found, "peak_mib_per_language": each})
    return lines


def case_fleet(folder: Path) -> list[Result]:
    """Sixteen small languages from nothing to saved adapters, start-up included, on all cores."""
    used = processor_seconds()
    # As many processes as cores, one thread each: the best use of the machine by either side.
    ours, banks = side_by_side([f"fleet|{part}|{CORES}|{FLEET}|{FLEET_STEPS}" for part in range(CORES)], folder)
    our_processor, used = processor_seconds() - used, processor_seconds()
    theirs, lone = side_by_side([f"lone|{number}|{FLEET_STEPS}" for number in range(FLEET)], folder)
    our_memory = sum(bank["peak_mib"] for bank in banks) / FLEET
    their_memory = statistics.mean(one["peak_mib"] for one in lone)
    return [
        {
            "what": f"{FLEET} languages, {FLEET_STEPS} optimizer steps each, start-up included",
            "shape": "quickstart",
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
    lines = [{"what": "bank on a GPU", "shape": wide, **run(f"ours|{wide}|{size}", folder)} for size in BANKS]
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
            cases.run_trainer(cases.SHAPES["quickstart"], folder, cases.LANGUAGES[int(rest[0])], int(rest[1]))
            return cases.peak_memory()
        case "fleet":
            return cases.train_fleet(*map(int, rest), folder)
        case "linear":
            return cases.time_linear(int(rest[0]), int(rest[1]), folder)
        case "llama":
            from training_gpu import time_llama

            return time_llama(rest[0], folder)
        case _:
            raise ValueError(what)


CASES: Mapping[str, Callable[[Path], list[Result]]] = {
    "step: XLM-R base": lambda folder: case_step("XLM-R base, vocabulary 250,002", folder),
    "step: quickstart": lambda folder: case_step("quickstart", folder),
    "banks": case_banks,
    "fleet": case_fleet,
    "linear": case_linear,
    "scaling: banks": lambda folder: case_two_banks(8, folder),
    "scaling: quickstart": lambda folder: case_scaling("quickstart", 8, folder),
    "scaling: XLM-R base": lambda folder: case_scaling("XLM-R base, vocabulary 250,002", 1, folder),
    "gpu": case_gpu,
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
    parser.add_argument("--only", nargs="*", default=list(CASES))
    parser.add_argument("--measure", help="internal: one measurement in this process")
    parser.add_argument("--folder", type=Path)
    arguments = parser.parse_args()
    if arguments.measure:
        print(json.dumps(measure(arguments.measure, arguments.folder)))
        return
    report: Result = {"machine": machine(), "results": []}
    with tempfile.TemporaryDirectory() as name:
        folder = arguments.folder or Path(name)
        for case in arguments.only:
            run(f"ours|quickstart|{FLEET}", folder) if case == "fleet" else None  # tokenized before either side begins
            for line in CASES[case](folder):
                report["results"].append(line)
                print(json.dumps(line))
            if arguments.out:
                arguments.out.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
