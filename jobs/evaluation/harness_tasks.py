"""Tasks of lm-evaluation-harness: found, checked and pinned before anything runs, and built for one of our splits."""

from __future__ import annotations

import importlib.util
import logging
import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import lru_cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

from jinja2 import StrictUndefined
from jinja2.sandbox import SandboxedEnvironment

from jobs.data.digests import directory_files, files_digest
from jobs.data.resolve import DIRECTORY
from jobs.data.slices import overlapping, plain_name
from jobs.errors import Fault, InputError, raise_all
from jobs.files.digest import COMMIT
from jobs.files.yaml_document import nearest, read_yaml
from jobs.runtime.library_faults import library_faults
from jobs.spec import DataRef, Split, TaskRef, metric_of

# The seed by which the harness draws worked examples, unless it is told another one.
_SHOTS_SEED = 1234
_SPLITS: tuple[Split, ...] = ("validation", "test")
_NAMED = re.compile(r"""^["']?(?:task|group)["']?: *["']?([^\s"'#\[]+)""", re.MULTILINE)
# Of `datasets`: what reads files that are named, without a pickle among them.
_READERS = ("json", "csv", "text", "parquet", "arrow")
# How the harness makes a metric of examples; of any other way nothing is known of single examples.
_AGGREGATIONS = {
    "acc": "mean",
    "acc_norm": "mean",
    "acc_bytes": "mean",
    "acc_mutual_info": "mean",
    "exact_match": "mean",
    "perplexity": "perplexity",
    "word_perplexity": "weighted_perplexity",
    "byte_perplexity": "weighted_perplexity",
    "bits_per_byte": "bits_per_byte",
}
_REFUSED = {
    "class": "the task is a class of Python, which states neither data nor splits",
    "custom_dataset": "the task's data are made by code, which nothing pins",
    "unsafe_code": "the task runs what the model writes",
    "use_prompt": "the task's prompts are kept elsewhere",
    "doc_to_image": "the task shows pictures",
    "doc_to_audio": "the task plays sounds",
}


def pinned_task(data: DataRef, split: Split, task: TaskRef, cache: Path) -> DataRef:
    """`data` with its revision, and with what the task calls our validation and test data in `splits`.

    `data.revision`: "", or the commit of the task's data set on the hub, whose name becomes the `subset`; `splits`:
    those that the campaign gives.
    Nothing is loaded but task files. Raises InputError with all that keeps the task from being scored on `split`.
    """
    config = _config(data, task)
    folder = dict(data.files).get(DIRECTORY, "")
    given = dict(data.splits)
    names = {ours: given.get(ours) or config.get(f"{ours}_split") or "" for ours in _SPLITS}
    where = _where(data, task)
    raise_all(Fault(what, where, key) for key, what in _REFUSED.items() if config.get(key))
    raise_all(
        [
            *_sampling_faults(config, where),
            *_metric_faults(config, data, task, where),
            *_split_faults(config, names, split, task, where),
            *_data_faults(config, data, where),
        ]
    )
    commit = "" if _lies_here(config, folder) else _commit(config, data)
    files = _local_files(config, folder)
    pin = "+".join(filter(None, (commit, files_digest(files, cache) if files else "")))
    splits = tuple((ours, name) for ours, name in names.items() if name)
    subset = str(config["dataset_path"]) if commit else ""
    return replace(data, revision=f"{_revision()}@{pin}", splits=splits, subset=subset)


def harness_task(data: DataRef, split: Split, task: TaskRef, cache: Path) -> tuple[Any, range]:
    """The harness's own task (`lm_eval.api.task.Task`) whose test data are those of `split`, and which of them count.

    A search's task is told that its validation data are its test data: it has no others to score. Raises InputError for
    another version of the harness than was planned with, and for data that cannot be loaded.
    """
    config, where = _config(data, task), _where(data, task)
    if data.revision.partition("@")[0] != _revision():
        todo = "install the version that the plan was made with, or plan anew"
        raise InputError(
            Fault("another version of lm-evaluation-harness", where, f"{_revision()}, {data.revision}", todo)
        )
    name = dict(data.splits)[split]
    shots = _shots(config, task)
    changes: dict[str, Any] = {"task": data.dataset, "test_split": plain_name(name), "num_fewshot": shots}
    if shots and (shown := _shown_split(config)):
        changes["fewshot_split"] = shown
    kwargs = _absolute(config.get("dataset_kwargs") or {}, dict(data.files).get(DIRECTORY, ""))
    if data.subset:
        kwargs["revision"] = data.revision.partition("@")[2][:40]
    if local := _local_folder(config, dict(data.files).get(DIRECTORY, "")):
        changes["dataset_path"] = str(local)
    changes["dataset_kwargs"] = {**kwargs, "cache_dir": str(cache / "lm-eval")}
    with library_faults("the task cannot be built", where):
        built = _manager(data, where).load({"group": "campaign", "task": [changes]})["tasks"]
        (found,) = built.values()
        found.set_fewshot_seed(_SHOTS_SEED)
        count = len(found.eval_docs)
    from jobs.data.hub_source import refuse_shared, rows_of

    refuse_shared(data, split, count)
    rows = rows_of(name, count, data)
    kept = math.ceil(min(len(rows), dict(data.limits).get(split, len(rows))) * data.share)
    if not kept:
        raise InputError(Fault(f"the {split} split is empty", where, name, "add data"))
    return found, rows[:kept]


def _where(data: DataRef, task: TaskRef) -> str:
    return f"task {task.name} ({data.dataset})"


def _revision() -> str:
    return f"lm-eval-{version('lm_eval')}"


def _config(data: DataRef, task: TaskRef) -> Mapping[str, Any]:
    """What a task's files say, includes filled in, functions as texts: no code has run."""
    where = _where(data, task)
    if importlib.util.find_spec("lm_eval") is None:
        todo = "pip install 'adapterfleet[lm-eval]'"
        raise InputError(Fault("lm-evaluation-harness is not installed", where, todo=todo))
    manager = _manager(data, where)
    entry = manager.task_index.get(data.dataset)
    if entry is None:
        raise _unknown(data, where, list(manager.all_subtasks))
    if entry.cfg is None or data.dataset not in manager.all_subtasks:
        members = sorted(entry.tags) or [str(one) for one in (entry.cfg or {}).get("task") or ()]
        todo = _short(f"name one of them: {', '.join(members)}")
        raise InputError(Fault("a group of tasks is scored as its tasks", where, data.dataset, todo))
    config: Mapping[str, Any] = entry.cfg
    return config


def _short(todo: str) -> str:
    return todo if len(todo) <= 200 else f"{todo[:200]} ..."


def _unknown(data: DataRef, where: str, known: list[str]) -> InputError:
    todo = _short(nearest(data.dataset, known))
    return InputError(Fault("lm-evaluation-harness has no such task", where, data.dataset, todo))


def _manager(data: DataRef, where: str) -> Any:
    """The index of a directory whose files are plain or trusted, or of that of one of the harness's own tasks."""
    folder = dict(data.files).get(DIRECTORY)
    if not folder:
        if data.dataset not in _own_folders():
            raise _unknown(data, where, sorted(_own_folders()))
        return _own_tasks(_own_folders()[data.dataset])
    if not Path(folder).is_dir():
        raise InputError(Fault("no directory of task files", where, folder, "check the path"))
    if not data.run_code:
        raise_all(_code_faults(Path(folder)))
    return _index(folder)


@lru_cache(maxsize=1)
def _own_folders() -> Mapping[str, str]:
    """Name -> the folder of its file, of the tasks and groups that come with the harness.

    The harness would parse all of its 14,000 files, which takes half a minute; here their texts are looked through.
    """
    spec = importlib.util.find_spec("lm_eval")
    assert spec is not None and spec.submodule_search_locations, "lm_eval is a package"
    files = sorted(Path(spec.submodule_search_locations[0], "tasks").rglob("*.yaml"))
    return {
        name: str(file.parent) for file in reversed(files) for name in _NAMED.findall(file.read_text(encoding="utf-8"))
    }


@lru_cache(maxsize=64)
def _own_tasks(folder: str) -> Any:
    return _index(folder)


def _index(folder: str) -> Any:
    """Templates of task files are rendered in a sandbox, which the harness itself does not do."""
    from lm_eval import utils
    from lm_eval.tasks import TaskManager

    logging.getLogger("lm_eval").setLevel(logging.ERROR)
    sandbox = SandboxedEnvironment(undefined=StrictUndefined, keep_trailing_newline=True)
    sandbox.filters.update(utils.env.filters)
    utils.env = sandbox
    return TaskManager(include_path=folder, include_defaults=False)


def _code_faults(folder: Path) -> Iterator[Fault]:
    """Files with a tag of YAML, by which the harness imports Python, and files that include others from outside."""
    root, seen = folder.resolve(), set[Path]()
    waiting = sorted(path.resolve() for path in folder.rglob("*.yaml"))
    while waiting:
        file = waiting.pop()
        if file in seen:
            continue
        seen.add(file)
        if not file.is_relative_to(root):
            yield Fault("a task file lies outside its directory", str(file), todo=f"put it into {folder}")
            continue
        try:
            content = read_yaml(file).content
        except InputError as wrong:
            yield from (_told(fault) for fault in wrong.faults)
            continue
        included = content.get("include", ()) if isinstance(content, dict) else ()
        waiting += [
            (file.parent / one).resolve() for one in ([included] if isinstance(included, str) else map(str, included))
        ]


def _told(fault: Fault) -> Fault:
    if "constructor for the tag" not in fault.what:
        return fault
    tag = fault.what.rpartition("tag ")[2]
    todo = "write the task without it, or say `run_code: true` beside `files` if you trust the directory"
    return Fault("a task file names code to run", fault.where, tag.strip("'\""), todo)


def _sampling_faults(config: Mapping[str, Any], where: str) -> Iterator[Fault]:
    if (config.get("generation_kwargs") or {}).get("do_sample"):
        yield Fault("the task draws its texts at random", where, "do_sample: true", "take one that writes greedily")


def _metric_faults(config: Mapping[str, Any], data: DataRef, task: TaskRef, where: str) -> Iterator[Fault]:
    """A metric that the task does not have or that is no mean over examples, and metrics that are fetched as code."""
    from lm_eval.api import registry  # whose tables the tasks have filled

    kind, listed = config.get("output_type", "generate_until"), config.get("metric_list")
    if listed is None:
        listed = [{"metric": name} for name in registry.DEFAULT_METRIC_REGISTRY.get(kind, ())]
    wanted, direction = metric_of(task)
    trusted = data.run_code or not data.files
    for entry in listed:
        name = str(entry.get("metric"))
        ours = trusted and name.startswith("/")  # a function of the task's own
        if entry.get("hf_evaluate") or not (config.get("process_results") or ours or name in registry.METRIC_REGISTRY):
            todo = "take a task whose metrics the harness has itself"
            yield Fault("the metric is code on a hub", where, name, todo)
    found = next((entry for entry in listed if entry.get("metric") == wanted), None)
    if found is None:
        known = ", ".join(str(entry.get("metric")).rpartition(".")[2] for entry in listed)
        yield Fault("the task does not have this metric", where, wanted, f"it has {known}: name one as `metric`")
        return
    made = str(found.get("aggregation") or _AGGREGATIONS[wanted])
    rises = direction == "max"
    if made != _AGGREGATIONS[wanted] or found.get("higher_is_better", rises) != rises:
        got = f"{wanted}, aggregation {made}"
        yield Fault("the task makes this metric in a way of its own", where, got, "name another as `metric`")
    filters = [str(one.get("name")) for one in config.get("filter_list") or ()]
    if task.filter and task.filter not in filters:
        yield Fault("the task has no such filter", where, task.filter, f"it has {', '.join(filters) or 'none'}")


def _split_faults(
    config: Mapping[str, Any], names: Mapping[Split, str], split: Split, task: TaskRef, where: str
) -> Iterator[Fault]:
    stated = {key: config[key] for key in ("training_split", "validation_split", "test_split") if config.get(key)}
    if not names[split]:
        got = ", ".join(f"{key}: {name}" for key, name in stated.items())
        todo = f'say which of its data are, e.g. `splits: {{{split}: "{next(iter(stated.values()), "train")}[:500]"}}`'
        yield Fault(f"the task has no {split} split", where, got, todo)
    try:
        shared = overlapping({ours: name for ours, name in names.items() if name})
    except ValueError as wrong:
        yield Fault(str(wrong), where)
        return
    if shared:
        got, todo = f"{names['validation']} and {names['test']}", "give each rows of its own in `splits`"
        yield Fault("validation and test would have rows in common", where, got, todo)
    shown = _shown_split(config) if _shots(config, task) else ""
    if split == "validation" and shown and plain_name(shown) == plain_name(names["test"]):
        todo = "set `shots: 0`, or take a task with worked examples of its own"
        yield Fault("worked examples would show the search test data", where, shown, todo)


def _shots(config: Mapping[str, Any], task: TaskRef) -> int:
    return int(config.get("num_fewshot") or 0) if task.shots is None else task.shots


def _shown_split(config: Mapping[str, Any]) -> str:
    """Which data worked examples are drawn from, by the harness's own rule; "" where the task states them."""
    own = config.get("fewshot_config") or {}
    if own.get("samples") and not own.get("split"):
        return ""
    keys = ("fewshot_split", "training_split", "validation_split", "test_split")
    return str(own.get("split") or next((config[key] for key in keys if config.get(key)), ""))


def _data_faults(config: Mapping[str, Any], data: DataRef, where: str) -> Iterator[Fault]:
    """Data from the net or at no commit, and files that are not there."""
    folder, path = dict(data.files).get(DIRECTORY, ""), str(config.get("dataset_path"))
    if path in _READERS:
        files = list(_data_files(config, folder))
        if not files:
            yield Fault("the task names no files of its data", where, path, "give `dataset_kwargs: {data_files: ...}`")
        for file in files:
            if "://" in file:
                yield Fault("the task fetches its data", where, file, "take a task whose data lie here")
            elif not Path(file).is_file():
                todo = "relative paths begin in the directory of the task files"
                yield Fault("no such file of the task's data", where, file, todo)
    elif _local_folder(config, folder) is None and not COMMIT.fullmatch(_commit(config, data)):
        todo = "give the commit of that data set as `revision` (40 hex digits), or a task whose data lie here"
        yield Fault("the task's data are on the hub, at no commit", where, path, todo)


def _data_files(config: Mapping[str, Any], folder: str) -> Iterator[str]:
    waiting = [_absolute(config.get("dataset_kwargs") or {}, folder).get("data_files")]
    while waiting:
        one = waiting.pop(0)
        if isinstance(one, str):
            yield one
        elif one:
            waiting += one.values() if isinstance(one, dict) else one


def _absolute(kwargs: Mapping[str, Any], folder: str) -> dict[str, Any]:
    """`dataset_kwargs` whose files are named from the directory of the task files; without any trust in code."""

    def placed(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: placed(one) for key, one in value.items()}
        if isinstance(value, list):
            return [placed(one) for one in value]
        return value if "://" in value else str(Path(folder, value))

    plain = {key: value for key, value in kwargs.items() if key != "trust_remote_code"}
    return {**plain, "data_files": placed(plain["data_files"])} if plain.get("data_files") else plain


def _local_folder(config: Mapping[str, Any], folder: str) -> Path | None:
    """The directory in the hub's layout that the task's data lie in, where they do."""
    path = str(config.get("dataset_path"))
    found = Path(folder, path)
    return found.resolve() if folder and path not in _READERS and found.is_dir() else None


def _lies_here(config: Mapping[str, Any], folder: str) -> bool:
    return str(config.get("dataset_path")) in _READERS or _local_folder(config, folder) is not None


def _commit(config: Mapping[str, Any], data: DataRef) -> str:
    return data.revision or str((config.get("dataset_kwargs") or {}).get("revision", ""))


def _local_files(config: Mapping[str, Any], folder: str) -> list[tuple[str, Path]]:
    """Task files of a directory, and the data that lie here, by name."""
    local = _local_folder(config, folder)
    read = _data_files(config, folder) if str(config.get("dataset_path")) in _READERS else ()
    found = directory_files(Path(folder)) if folder else []
    found += [(f"data/{name}", path) for name, path in (directory_files(local) if local else ())]
    found += [(f"data/{number}", Path(file)) for number, file in enumerate(read)]
    return [(name, path) for name, path in found if "__pycache__" not in path.parts]
