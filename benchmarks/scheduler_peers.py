"""The graph of `scheduler.py` in doit and in luigi: `python scheduler_peers.py doit|luigi FOLDER`.

Each task writes a file of 200 bytes and remembers that it did: doit in its database of file hashes, luigi by the file
being there. Neither writes a record, brings files to disk, or checks bytes on reuse.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

PAYLOAD = b"x" * 200


def peak_mebibytes() -> int:
    """Most memory this process ever held."""
    lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    return int(next(line.split()[1] for line in lines if line.startswith("VmHWM"))) // 1024


def run_doit(folder: Path, steps: list[tuple[str, list[str]]]) -> int:
    """Every task depends on the files of its inputs, whose hashes doit keeps."""
    from doit.cmd_base import ModuleTaskLoader
    from doit.doit_cmd import DoitMain

    executed = 0

    def write(place: Path) -> None:
        nonlocal executed
        executed += 1
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(PAYLOAD)

    def task_step():
        for key, inputs in steps:
            place = folder / "doit" / key
            yield {
                "name": key,
                "actions": [(write, [place])],
                "file_dep": [str(folder / "doit" / one) for one in inputs],
                "targets": [str(place)],
                **({"uptodate": [True]} if not inputs else {}),
            }

    settings = {"dep_file": str(folder / "doit.db"), "backend": "sqlite3", "verbosity": 0, "reporter": "zero"}
    code = DoitMain(ModuleTaskLoader({"task_step": task_step, "DOIT_CONFIG": settings})).run([])
    assert not code
    return executed


def run_luigi(folder: Path, steps: list[tuple[str, list[str]]]) -> int:
    """Every task requires its inputs and is complete when its file is there."""
    import logging

    import luigi

    logging.disable(logging.WARNING)
    inputs = dict(steps)
    executed = 0

    class StepTask(luigi.Task):
        key = luigi.Parameter()

        def requires(self):
            return [StepTask(one) for one in inputs[self.key]]

        def output(self):
            return luigi.LocalTarget(str(folder / "luigi" / self.key))

        def run(self) -> None:
            nonlocal executed
            executed += 1
            place = Path(self.output().path)
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_bytes(PAYLOAD)

    assert luigi.build([StepTask(key) for key, _ in steps], local_scheduler=True, log_level="ERROR")
    return executed


if __name__ == "__main__":
    peer, place = sys.argv[1], Path(sys.argv[2])
    graph = json.loads((place / "graph.json").read_text(encoding="utf-8"))
    started = time.perf_counter()
    ran = {"doit": run_doit, "luigi": run_luigi}[peer](place, graph)
    seconds = time.perf_counter() - started
    facts = {"seconds": round(seconds, 2), "steps_per_second": round(len(graph) / seconds)}
    print(json.dumps({**facts, "executed": ran, "peak_mebibytes": peak_mebibytes()}))
