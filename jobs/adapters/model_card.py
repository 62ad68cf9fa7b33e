"""The model card of a merged adapter: what it is, of what it was made, and how to load it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from huggingface_hub import ModelCardData

from jobs.adapters.adapter import Adapter
from jobs.adapters.loading_code import interface_lines, loaded_by_interface

_AUTO_CLASSES = {
    "CAUSAL_LM": "AutoModelForCausalLM",
    "SEQ_CLS": "AutoModelForSequenceClassification",
    "TOKEN_CLS": "AutoModelForTokenClassification",
    "SEQ_2_SEQ_LM": "AutoModelForSeq2SeqLM",
    "QUESTION_ANS": "AutoModelForQuestionAnswering",
}


def card(adapter: Adapter, record: Mapping[str, Any]) -> str:
    """Markdown with YAML front matter; equal records, equal cards. `record`: of `jobs.merging.merge`."""
    parts = [
        f"---\n{_front_matter(adapter)}\n---",
        f"# {adapter.name}",
        _summary(adapter, record),
        "## Load it",
        f"```python\n{loading_snippet(adapter)}```",
        'Run it in this directory, or put the directory\'s path in place of `"."`.',
        "## Parents",
        _parents(record["parents"]),
        *_truncation(record.get("truncation")),
        *record.get("notes", ()),
        "`recipe.yaml` is the recipe as it was given, `merge.json` the record with every file's sha256.",
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def loading_snippet(adapter: Adapter) -> str:
    """Python that loads the adapter in the current directory with the plain library of its format."""
    backbone = adapter.backbone.model_name or "NAME-OF-THE-BACKBONE"
    if loaded_by_interface(adapter.config):
        lines = [*interface_lines(repr(backbone)), 'model.load_adapter(".", set_active=True)']
        return "import adapters\nfrom transformers import AutoModelForMaskedLM\n\n" + "\n".join(lines) + "\n"
    if adapter.format == "adapterhub":
        return (
            "from adapters import AutoAdapterModel\n\n"
            f"model = AutoAdapterModel.from_pretrained({backbone!r})\n"
            f'name = model.load_adapter(".")\n'
            "model.set_active_adapters(name)\n"
        )
    auto = _AUTO_CLASSES.get(str(adapter.config.get("task_type")), "AutoModel")
    return (
        f"from peft import PeftModel\nfrom transformers import {auto}\n\n"
        f"backbone = {auto}.from_pretrained({backbone!r})\n"
        f'model = PeftModel.from_pretrained(backbone, ".")\n'
    )


def _front_matter(adapter: Adapter) -> str:
    name = adapter.backbone.model_name
    return ModelCardData(
        base_model=_plain(name) if name else None,
        base_model_relation="merge" if name else None,
        library_name="adapters" if adapter.format == "adapterhub" else "peft",
        tags=["adapterfleet", "merge", adapter.kind],
    ).to_yaml()


def _summary(adapter: Adapter, record: Mapping[str, Any]) -> str:
    backbone = adapter.backbone.model_name or "a backbone whose name its sources do not give"
    count = len(record["parents"])
    return (
        f"A {adapter.kind} adapter for `{_plain(backbone)}`, merged from {count} adapters by `{record['method']}` "
        f"in the space `{record['space']}`.{_left_out(record['recipe'])}"
    )


def _left_out(recipe: Mapping[str, Any]) -> str:
    """What of the sources the result does not hold as it was."""
    told = ""
    if (recipe.get("options") or {}).get("normalize"):
        told += " The weights below are the recipe's, divided by their sum."
    if recipe.get("head") == "drop":
        told += " Heads and modules that were trained whole are left out."
    return told


def _parents(parents: Sequence[Mapping[str, Any]]) -> str:
    rows = ["| role | adapter | weight | sha256 of the weights |", "|---|---|---|---|"]
    for parent in parents:
        weight = "" if parent["weight"] is None else f"{parent['weight']:g}"
        rows.append(f"| {parent['role']} | {_plain(parent['adapter'])} | {weight} | `{parent['sha256']}` |")
    return "\n".join(rows)


def _truncation(truncation: Mapping[str, Any] | None) -> list[str]:
    if not truncation:
        return []
    return [
        "## Truncation",
        f"Relative Frobenius error of delta W: {truncation['relative_error']:.3g} over all modules, at worst "
        f"{truncation['worst_relative_error']:.3g} (`{truncation['worst_module']}`).",
    ]


def _plain(text: str) -> str:
    """Text on one line that cannot break out of a table cell, of code marks or of the front matter."""
    return "".join(" " if letter in "\r\n|`<>" else letter for letter in text)
