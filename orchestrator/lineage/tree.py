"""The lineage of an artifact: from a merged adapter down to corpora and backbone, out of the records alone."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from functools import cached_property
from pathlib import Path
from typing import Any

from rich.text import Text
from rich.tree import Tree

from jobs.adapters.safe_paths import weights_file
from jobs.errors import Fault, InputError
from jobs.spec import is_held_out_text, metric_named
from orchestrator.store.artifacts import ArtifactStore
from orchestrator.store.layout import RECORD_FILE
from orchestrator.store.record import Record, read_record

SHORT = 12  # hex digits of a sha256 that a person gets to see
MISSING = "missing"
_STYLES = {
    "merge": "bold green",
    "backbone": "magenta",
    "corpus": "cyan",
    "task-data": "cyan",
    "elsewhere": "cyan",
    MISSING: "bold red",
}


@dataclass(frozen=True, slots=True)
class Node:
    """One artifact, corpus or backbone in the tree.

    `role`: what it is to its parent ("language:en@42", "theta_pre", "corpus"). `weight`: its lambda in the parent,
    where it has one. `sha256`: of the adapter's weights (64 hex digits), or the pinned revision of data and
    backbone. `facts`: scores and settings worth reading. `above`: shown in full earlier in the tree, so without
    children here.
    """

    key: str
    kind: str
    role: str
    weight: float | None
    sha256: str
    facts: tuple[tuple[str, str], ...]
    children: tuple[Node, ...]
    above: bool = False


def lineage_tree(store: ArtifactStore, name: str) -> Node:
    """The tree below an artifact, given by key, by unique start of its key or name, or by its directory.

    Raises InputError for a name that is unknown (with close matches) or that fits several artifacts, and
    CorruptArtifactError for a record that cannot be read.
    """
    record = find_record(store, name)
    return _TreeBuilder(store).node(record.key, record, "", None)


def as_text(root: Node) -> Tree:
    """The tree for `rich.print`; the backbone, which all have in common, is shown once."""
    tree = Tree(_label(root))
    tree.children.extend(as_text(child) for child in root.children if not (child.above and child.kind == "backbone"))
    return tree


def as_plain(node: Node) -> dict[str, Any]:
    """The tree as nested JSON values, with full digests."""
    plain: dict[str, Any] = {"key": node.key, "kind": node.kind, "role": node.role, "sha256": node.sha256}
    if node.weight is not None:
        plain["weight"] = node.weight
    plain["facts"] = dict(node.facts)
    plain["above"] = node.above
    plain["children"] = [as_plain(child) for child in node.children]
    return plain


def as_mermaid(root: Node) -> str:
    """The tree as a Mermaid flow chart: each artifact once, arrows from parents to what was made of them."""
    nodes, edges = dict[str, str](), dict[str, None]()
    for parent, node in _walk(root, None):
        identity = nodes.setdefault(node.key, f"n{len(nodes)}")
        if not node.above:
            facts = [f"{name} {value}" for name, value in node.facts]
            lines = (_short_key(node), _short_sha(node), *facts)
            text = "<br/>".join(_escaped(line) for line in lines if line)
            edges[f'    {identity}["{text}"]'] = None
        if parent:
            arrow = f'-- "{node.weight:g}" -->' if node.weight is not None else "-->"
            edges[f"    {identity} {arrow} {nodes[parent.key]}"] = None
    return "\n".join(["flowchart BT", *edges]) + "\n"


_PINNED = frozenset({"corpus", "task-data", "backbone", "elsewhere"})


class _TreeBuilder:
    """Grows a tree depth first; what was shown once is only named the second time."""

    def __init__(self, store: ArtifactStore) -> None:
        self.store = store
        self._shown: set[str] = set()

    def node(self, key: str, record: Record | None, role: str, weight: float | None) -> Node:
        """The node of an artifact and everything below it."""
        if record is None:
            return Node(key, MISSING, role, weight, "", (("", "not in this workspace"),), ())
        sha = record.files.get(weights_file(record.files), ("", 0))[0]
        if self._seen(key):
            return Node(key, record.job, role, weight, sha, (), (), above=True)
        facts = (*_facts(record), *self._scores(key, record.job))
        return Node(key, record.job, role, weight, sha, facts, tuple(self._children(record)))

    def _children(self, record: Record) -> Iterator[Node]:
        weights = _weights(record)
        if record.job == "foreign-adapter":  # theta_pre gave it its form, nothing else
            yield self._elsewhere(record)
            yield self._backbone(record.spec["backbone"])
            return
        for role, key in sorted(record.inputs.items(), key=lambda item: _order(item[0], weights)):
            key_of_role = mixture_key(role, weights)
            if ":" in role and weights and key_of_role not in weights:
                continue  # in the search's pool, which its facts name, but of no weight in the winner
            weight = None if record.job == "search" else weights.get(key_of_role)
            yield self.node(key, read_record(self.store.path(key)), role, weight)
        spec = record.spec
        if "corpus" in spec:
            yield self._data(spec["corpus"], "corpus")
        for one in (objective for objective in record.objectives if "data" in objective):
            yield self._data(one["data"], "corpus" if is_held_out_text(one["task"]["kind"]) else "task-data")
        yield self._backbone(spec["backbone"])

    def _data(self, ref: Mapping[str, Any], kind: str) -> Node:
        key = f"{kind}/{data_name(ref)}@{ref['revision']}"
        return Node(key, kind, kind, None, ref["revision"], (), (), self._seen(key))

    def _elsewhere(self, record: Record) -> Node:
        revision = record.spec["adapter"]["revision"]
        key = f"elsewhere/{record.details['source']}@{revision}"
        return Node(key, "elsewhere", "elsewhere", None, revision, (), (), self._seen(key))

    def _backbone(self, ref: Mapping[str, Any]) -> Node:
        key = backbone_key(ref)
        return Node(key, "backbone", "backbone", None, ref["revision"], (), (), self._seen(key))

    def _seen(self, key: str) -> bool:
        seen = key in self._shown
        self._shown.add(key)
        return seen

    def _scores(self, key: str, job: str) -> Iterator[tuple[str, str]]:
        """What the evaluations of a merge say of it."""
        if job != "merge":
            return
        for evaluation in self._evaluations.get(key, []):
            task, split = evaluation.spec["task"], evaluation.spec["split"]
            metric = metric_named(task["kind"], task.get("metric", ""))[0]
            if metric in evaluation.metrics:
                yield f"{split} {task['name']} {metric}", f"{evaluation.metrics[metric]:.4g}"

    @cached_property
    def _evaluations(self) -> dict[str, list[Record]]:
        found: dict[str, list[Record]] = {}
        for file in sorted((self.store.root / "artifacts" / "evaluation").glob(f"*/{RECORD_FILE}")):
            record = read_record(file.parent)
            if record and "merge" in record.inputs:
                found.setdefault(record.inputs["merge"], []).append(record)
        return found


def find_record(store: ArtifactStore, name: str) -> Record:
    """The record of an artifact by key, unique start of its key or name, or directory. Raises as `lineage_tree`."""
    folder = Path(name)
    if name and (folder / RECORD_FILE).is_file():
        record = read_record(folder)
        assert record
        return record
    keys = sorted(f"{f.parent.parent.name}/{f.parent.name}" for f in store.root.glob(f"artifacts/*/*/{RECORD_FILE}"))
    fitting = [key for key in keys if key == name] or [
        key for key in keys if name and (key.startswith(name) or key.partition("/")[2].startswith(name))
    ]
    merges = [key for key in fitting if key.startswith("merge/")]  # "gl-ner" means the merge, not its search
    chosen = merges if len(merges) == 1 else fitting
    if len(chosen) != 1:
        raise InputError(_unresolved(store, name, keys, fitting))
    record = read_record(store.path(chosen[0]))
    assert record
    return record


def _unresolved(store: ArtifactStore, name: str, keys: list[str], fitting: list[str]) -> Fault:
    if fitting:
        listed = ", ".join(fitting[:5]) + (f" and {len(fitting) - 5} more" if len(fitting) > 5 else "")
        return Fault("the name fits several artifacts", str(store.root), name, f"choose one: {listed}")
    names = {key.partition("/")[2]: key for key in keys} | {key: key for key in keys}
    close = dict.fromkeys(names[match] for match in get_close_matches(name, names, n=5, cutoff=0.5))
    todo = f"did you mean {', '.join(close)}?" if close else "`adapterfleet plan --all CAMPAIGN` lists the steps"
    return Fault("no such adapter in this workspace", str(store.root), name or "nothing", todo)


def _weights(record: Record) -> dict[str, float]:
    """Language -> lambda in a merge, an evaluation or a search's winner, without zeros; else empty."""
    if record.job == "evaluation":
        return {role.removeprefix("language:"): weight for role, weight in record.spec["weights"] if weight != 0}
    details = record.details.get("winner", {}) if record.job == "search" else record.details
    found: Mapping[str, float] = details.get("weights", {})
    return {language: weight for language, weight in found.items() if weight != 0}


def _order(role: str, weights: Mapping[str, float]) -> tuple[int, float, str]:
    rank = {"theta_pre": 2, "search": 1}.get(role, 0)
    return rank, -weights.get(mixture_key(role, weights), 0.0), role


def mixture_key(role: str, weights: Mapping[str, float]) -> str:
    """The key of `weights` that stands for an input's role: `gl` or `language:gl` for `language:gl@42`."""
    key = role.partition("@")[0]
    return key if key in weights else key.removeprefix("language:")


def _facts(record: Record) -> Iterator[tuple[str, str]]:
    if "seed" in record.spec:
        yield "seed", str(record.spec["seed"])
    if record.job == "search":
        winner, pool = record.details.get("winner", {}), _pool(record)
        yield "candidates", str(len(record.details.get("candidates", [])))
        yield "pool", ", ".join(pool)
        yield "winner", " + ".join(f"{weight:g} {language}" for language, weight in _weights(record).items())
        yield "validation mean", f"{winner['mean']:.4g}" if "mean" in winner else "unknown"
    for name, value in record.metrics.items():
        if name.startswith("validation") and record.job != "search":
            yield name.replace("_", " "), f"{value:.4g}"
    if "training" in record.spec:
        if epochs := record.spec["training"].get("epochs"):
            yield "epochs", str(epochs)
        steps = record.spec["training"]["optimizer_steps"] or record.details["optimizer_steps_asked"]
        yield "optimizer steps", str(steps)


def _pool(record: Record) -> list[str]:
    roles = (role.removeprefix("language:").partition("@")[0] for role in record.inputs if role.startswith("language:"))
    return sorted(set(roles))


def _label(node: Node) -> Text:
    text = Text()
    if node.weight is not None:
        text.append(f"{node.weight:g} x ", style="bold yellow")
    text.append(_short_key(node), style=_STYLES.get(node.kind, "bold"))
    if node.sha256:
        text.append(f"  {_short_sha(node)}", style="dim")
    for name, value in node.facts:
        text.append(f"  {name} {value}" if name else f"  {value}")
    if node.above:
        text.append("  (see above)", style="dim")
    return text


def _short_key(node: Node) -> str:
    return node.key.partition("@")[0] if node.kind in _PINNED else node.key


def _short_sha(node: Node) -> str:
    if node.kind not in _PINNED:
        return f"sha256:{node.sha256[:SHORT]}" if node.sha256 else ""
    start, colon, rest = node.sha256.rpartition(":")
    return f"{start}{colon}{rest[:SHORT]}" if len(rest) >= 40 else node.sha256


def _walk(node: Node, parent: Node | None) -> Iterator[tuple[Node | None, Node]]:
    yield parent, node
    for child in node.children:
        yield from _walk(child, node)


def _escaped(text: str) -> str:
    return text.replace("&", "&amp;").replace('"', "&quot;").replace("<", "&lt;").replace(">", "&gt;")


def data_name(ref: Mapping[str, Any]) -> str:
    """A readable name of a `DataRef` in plain JSON, e.g. `cldr/gl` or `wikimedia/wikipedia/20231101.gl/gl`."""
    return "/".join(filter(None, (ref.get("dataset") or ref["source"], ref.get("subset"), ref["language"])))


def backbone_key(ref: Mapping[str, Any]) -> str:
    """The key of a backbone, which is no artifact: its name and pinned revision."""
    return f"backbone/{ref['name']}@{ref['revision']}"
