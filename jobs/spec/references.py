"""What a spec refers to: data and backbones at pinned revisions."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from jobs.spec.identity import later, location

DataSource = Literal["cldr", "json", "csv", "text", "conll", "hub", "lm-eval"]
Split = Literal["train", "validation", "test"]


@dataclass(frozen=True, slots=True)
class BackboneRef:
    """A frozen pretrained model and its tokenizer at a pinned revision.

    `revision` is the hub commit (40 hex digits) or "sha256:..." over the files of a local directory.
    `path` is the local directory or the hub name that `from_pretrained` gets.
    """

    name: str
    revision: str
    path: str = location()


@dataclass(frozen=True, slots=True)
class AdapterRef:
    """An adapter that others trained, known by its bytes.

    `revision`: "sha256:..." over the files that are read. `source`: where it was found, as the campaign says it;
    `path`: its directory on this machine.
    """

    revision: str
    source: str = location()
    path: str = location()


@dataclass(frozen=True, slots=True)
class RowFilter:
    """Rows whose `column`, as text, begins with `prefix`, or is `value` where no prefix is given."""

    column: str
    prefix: str = ""
    value: str = ""


@dataclass(frozen=True, slots=True)
class DataRef:
    """One language's raw text or labelled examples at a pinned revision.

    `revision`: "babel-..." for cldr, the commit for hub, "lm-eval-VERSION@" and commit or sha256 of the data for a task
    of lm-evaluation-harness, "sha256:..." over the files otherwise.
    `files`: (split, path) pairs; a split without a file is cut from `train` by hash when `hold_out` > 0:
    that share of the examples goes to validation and the same share to test.
    `limits`: (split, most examples) pairs, the first ones in the data's order. `share`: of what is left, the first
    part, rounded up: parts of one set lie inside each other.
    `dataset` and `subset`: name and configuration on the hub, e.g. "wikimedia/wikipedia", "20231101.gl".
    `directory`: of the repository, in place of a subset, where its commit has no card. `rows`: those that are kept.
    `splits`: (split, the data set's name for it) pairs; a name may end in a slice, e.g. "validation[:595]".
    `columns`: (our name, the data set's) pairs for the columns of labelled rows that are called otherwise. `repair`:
    of entity tags, an I- that continues nothing of its type begins an entity, as it does for the scorer. `skip_rows`:
    "invalid" leaves out rows that cannot be read, which are faults otherwise. Of lm-eval: `dataset` is the task's name;
    `run_code`: Python beside the task files may run.
    """

    source: DataSource
    language: str
    revision: str
    dataset: str = ""
    subset: str = ""
    splits: tuple[tuple[str, str], ...] = ()
    text_column: str = "text"
    tokens_column: str = "tokens"
    labels_column: str = "ner_tags"
    label_names: tuple[str, ...] = ()
    hold_out: float = 0.0
    limits: tuple[tuple[str, int], ...] = ()
    columns: tuple[tuple[str, str], ...] = ()
    directory: str = ""
    rows: RowFilter | None = None
    share: float = 1.0
    repair: bool = later(False)
    skip_rows: str = later("")  # or "invalid"
    files: tuple[tuple[str, str], ...] = location(())
    run_code: bool = location(False)
