"""Which choice of languages is best? Every adapter of a pool and every pair scored once, then each way of choosing.

    python benchmarks/selection.py                                      the embedded backbone; 25 core-minutes
    python benchmarks/selection.py --targets gl,uk --pool en,es,ru --steps 20 --task-steps 20 --examples 20
    python benchmarks/selection.py --backbone e5-small --workspace W    the adapters of a finished quickstart-e5

Scores are kept in --scores after every target, so that what was interrupted goes on, and a second call reads the file;
adapters are kept in the workspace. Regret is the best score on test data less that of the choice: `regret` of the
adapter of the nearest language against the best adapter; `pair regret` of that language mixed with the task's own,
lambda by labelled validation data, against the best of all pairs with their lambdas; `at 0.5` without any label. `rho`
is Spearman's correlation of nearness and score over the pool, `best` how often the choice was the best. `labelled` and
`unlabelled` are evaluations a target that the choice of the language costs. Intervals are of 95 %, by drawing targets.
Results are those of one seed and one pool.
Results go beside those of other backbones in --out.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
import time
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(Path(__file__).resolve().parent)]

from selection_methods import methods, timed  # noqa: E402
from selection_table import rows_of, summary  # noqa: E402
from selection_world import Scorer, World, made, opened  # noqa: E402

from jobs.files.atomic import write_text  # noqa: E402

POOL = "en,es,pt,fr,it,de,sv,pl,ru,tr,hi,id"
TARGETS = "gl,ca,ro,nl,da,cs,uk,bg,mr,az,ms,af,hu,sw"
CAMPAIGNS = {"e5-small": ROOT / "campaigns" / "quickstart-e5.yaml"}
RESULTS = Path(__file__).resolve().parent / "results" / "selection.json"
COLUMNS = ("targets", "regret", "best", "rho", "pair regret", "at 0.5", "labelled", "unlabelled")


def recorded(world: World, file: Path, count: int) -> dict[str, Any]:
    """The file of scores and orders, brought to its end: what it has is not computed again."""
    settings = {**world.settings, "texts": count}
    document: dict[str, Any] = {"settings": settings, "seconds": {}, "scores": {}, "methods": {}}
    if file.is_file():
        kept = json.loads(file.read_text(encoding="utf-8"))
        if kept["settings"] != settings:
            raise SystemExit(f"{file} holds scores of other settings: give another --scores, or remove it")
        document = kept
    scorer: Scorer | None = None
    for task in world.tasks:
        for target in world.targets:
            name = f"{task.name}/{target}"
            if name in document["scores"]:
                continue
            began, scorer = time.process_time(), scorer or Scorer(world)
            document["scores"][name] = scorer.scores(task, target)
            document["seconds"][name] = round(time.process_time() - began, 1)
            _keep(file, document)
            print(f"{name}: {len(document['scores'][name])} candidates, {document['seconds'][name]} s", flush=True)
    for name, work in methods(world, count):
        if name not in document["methods"]:
            document["methods"][name] = timed(work)
            _keep(file, document)
            print(f"{name}: {document['methods'][name]['processor seconds']} s", flush=True)
    return document


def _keep(file: Path, document: dict[str, Any]) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    write_text(file, json.dumps(document, ensure_ascii=False, separators=(",", ":")) + "\n")


def show(title: str, rows: list[dict[str, Any]], columns: tuple[str, ...]) -> None:
    """A table as text; a mean with its interval."""
    cells = [["method", *columns], *([row["method"], *(_cell(row.get(one)) for one in columns)] for row in rows)]
    widths = [max(len(line[place]) for line in cells) for place in range(len(cells[0]))]
    print(f"\n{title}")
    for line in cells:
        print(
            "  ".join(
                text.ljust(width) if not place else text.rjust(width)
                for place, (text, width) in enumerate(zip(line, widths, strict=True))
            )
        )


def _cell(value: Any) -> str:
    if isinstance(value, list):
        return f"{value[0]:.3f} [{value[1]:.3f}, {value[2]:.3f}]"
    return "" if value is None else f"{value:g}"


def asked() -> argparse.Namespace:
    """The command line."""
    about = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=about)
    parser.add_argument("--backbone", choices=("embedded", *CAMPAIGNS), default="embedded")
    parser.add_argument("--workspace", type=Path, help="of adapters; default: made under build/, for embedded")
    parser.add_argument(
        "--campaign", type=Path, help="the file that has run in the workspace, in place of the backbone's"
    )
    parser.add_argument("--pool", default="", help="languages with commas; default: 12, or all of the campaign")
    parser.add_argument("--targets", default="", help="likewise; default: 14, or all of the campaign")
    parser.add_argument("--steps", type=int, default=150, help="of each language adapter (embedded)")
    parser.add_argument("--task-steps", type=int, default=400, help="of the task adapter (embedded)")
    parser.add_argument(
        "--examples", type=int, default=100, help="of a test set, and half of it of validation (embedded)"
    )
    parser.add_argument("--texts", type=int, default=100, help="of each language that a model reads")
    parser.add_argument("--lambda-step", type=float, default=0.25)
    parser.add_argument(
        "--scores", type=Path, help="file of all scores; default: benchmarks/surfaces/selection-BACKBONE.json"
    )
    parser.add_argument("--out", type=Path, default=RESULTS)
    arguments = parser.parse_args()
    if arguments.backbone != "embedded" and arguments.workspace is None:
        parser.error(f"--backbone {arguments.backbone} needs --workspace")
    return arguments


def the_world(arguments: argparse.Namespace) -> World:
    """Made or opened."""
    count = round(1 / arguments.lambda_step)
    lambdas = [round(place / count, 6) for place in range(1, count)]
    pool, targets = (tuple(filter(None, text.split(","))) for text in (arguments.pool, arguments.targets))
    if arguments.campaign or arguments.backbone != "embedded":
        file = arguments.campaign or CAMPAIGNS[arguments.backbone]
        return opened(arguments.workspace, file, pool, targets, lambdas)
    sizes = {"steps": arguments.steps, "task_steps": arguments.task_steps}
    sizes |= {"few": max(arguments.examples // 2, 1), "many": arguments.examples}
    folder = arguments.workspace or ROOT / "build" / "selection"
    return made(folder, pool or tuple(POOL.split(",")), targets or tuple(TARGETS.split(",")), lambdas, sizes)


def main() -> None:
    """Record, compare, print, and put the result into the file."""
    arguments, load, began = asked(), os.getloadavg()[0], time.process_time()
    world = the_world(arguments)
    kept = arguments.scores or RESULTS.parents[1] / "surfaces" / f"selection-{arguments.backbone}.json"
    document = recorded(world, kept, arguments.texts)
    tables = {task.name: rows_of(document, task.name) for task in world.tasks}
    found = {kind: summary(tables, kind) for kind in ("single", "pair")}
    result = {
        "machine": {"cores": os.cpu_count(), "python": platform.python_version(), "load": load},
        "processor seconds": round(time.process_time() - began, 1),
        "scoring seconds": round(sum(document["seconds"].values()), 1),
        "settings": document["settings"],
        "candidates": {name: len(scores) for name, scores in document["scores"].items()},
        "choices": {
            name: {t: o[0][0] for t, o in one["order"].items() if o} for name, one in document["methods"].items()
        },
        "tables": tables,
        "summary": found,
    }
    whole = json.loads(arguments.out.read_text(encoding="utf-8")) if arguments.out.is_file() else {}
    whole[arguments.backbone] = result
    write_text(arguments.out, json.dumps(whole, ensure_ascii=False, indent=1) + "\n")
    for name, rows in tables.items():
        metric = document["settings"]["tasks"][name]["metric"]
        show(f"{name} ({metric}), {len(world.targets)} targets", rows, COLUMNS)
    for kind, rows in found.items():
        columns = ("targets", "of random", "less than mixed", "of mixed")
        show(f"mean over tasks: regret of the {kind} as a share of random choice's", rows, columns)


if __name__ == "__main__":
    main()
