"""The commands on adapters themselves: `merge`, `inspect`, `compare`. No campaign, no Ray, no backbone.

Each raises InputError for what the user can mend; the command line prints it, one line a fault, and exits with 2.
The modules that need torch are imported when a command runs, so that the command line starts without them.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Column, Table

from jobs.errors import Fault, InputError
from orchestrator.cli.options import path_option

if TYPE_CHECKING:
    from jobs.adapters.adapter import Adapter
    from orchestrator.report.adapter_comparison import AdapterComparison


def merge(
    recipe: Annotated[Path, typer.Argument(help="The recipe, a YAML file.")],
    out: Annotated[
        Path,
        path_option("--out", "-o", purpose="The directory to write; it must not exist."),
    ],
) -> None:
    """Merge adapters by a recipe into a directory that plain `adapters` or `peft` loads."""
    from jobs.merging.merge import merge as run

    report = run(recipe, out)
    record = report.record
    console = Console()
    table = Table("role", "adapter", "weight", title=f"{record['name']}: {record['method']}, space {record['space']}")
    for parent in record["parents"]:
        table.add_row(parent["role"], _shown(parent["adapter"]), _weight(parent))
    console.print(table)
    if "truncation" in record:
        lost = record["truncation"]
        console.print(
            f"truncation: relative error {lost['relative_error']:.3g} over all modules, "
            f"{lost['worst_relative_error']:.3g} at worst ({_shown(lost['worst_module'])})"
        )
    for note in record["notes"]:
        console.print(f"note: {note}")
    console.print(f"written: {_shown(report.path)}", soft_wrap=True)


def _weight(parent: Mapping[str, Any]) -> str:
    """Of a parent in the result: one number, and those of its parts."""
    rest = "" if parent["weight"] is None else f"{parent['weight']:g}"
    parts = [f"{part} {weight:g}" for part, weight in parent.get("parts", {}).items()]
    return ", ".join([rest, *parts] if rest else parts)


def inspect(
    directory: Annotated[Path, typer.Argument(help="An adapter directory, AdapterHub or PEFT.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Tell an adapter's kind, size, tensors, hash and norm."""
    from jobs.adapters.formats import read_adapter

    facts = _facts(read_adapter(directory), directory)
    console = Console()
    if as_json:
        console.print_json(json.dumps(facts))
        return
    for key in ("name", "kind", "format", "backbone", "parameters", "bytes", "norm", "sha256", "non_finite", "head"):
        console.print(f"{key:<11} {_shown(facts[key])}", soft_wrap=True, highlight=False)
    # Names are folded, never cut.
    table = Table(Column("tensor", overflow="fold"), "shape", "dtype", "norm", "zeros")
    for tensor in facts["tensors"]:
        row = (
            _shown(tensor["name"]),
            str(tensor["shape"]),
            tensor["dtype"],
            f"{tensor['norm']:.6g}",
            f"{tensor['zeros']:.1%}",
        )
        table.add_row(*row)
    console.print(table)


def _shown(value: object) -> str:
    """Text out of a file as it may stand on a terminal: no markup, no control characters."""
    return escape("".join(letter if letter.isprintable() else "?" for letter in str(value)))


def _facts(adapter: Adapter, directory: Path) -> dict[str, Any]:
    from jobs.adapters.formats import file_digests, tensors_digest

    tensors = [_tensor_facts(name, tensor) for name, tensor in adapter.tensors.items()]
    return {
        "name": adapter.name,
        "kind": adapter.kind,
        "format": adapter.format,
        "backbone": adapter.backbone.model_name or "not stated",
        "hidden_size": adapter.backbone.hidden_size,
        "settings": {key: value for key, value in sorted(adapter.settings.items()) if value is not None},
        "parameters": sum(tensor["parameters"] for tensor in tensors),
        "bytes": sum(tensor["bytes"] for tensor in tensors),
        "norm": sum(tensor["norm"] ** 2 for tensor in tensors) ** 0.5,
        "non_finite": sum(tensor["non_finite"] for tensor in tensors),
        "sha256": tensors_digest(adapter.tensors),
        "files": file_digests(directory),
        "head": None if adapter.head is None else sorted(adapter.head.tensors),
        "tensors": tensors,
    }


def _tensor_facts(name: str, tensor: Any) -> dict[str, Any]:
    import torch

    # float8 has few operations of its own.
    exact = tensor.to(torch.complex128 if tensor.is_complex() else torch.float64)
    finite = torch.isfinite(exact)
    values = torch.where(finite, exact, 0.0)
    count = max(tensor.numel(), 1)
    return {
        "name": name,
        "shape": list(tensor.shape),
        "dtype": str(tensor.dtype).removeprefix("torch."),
        "parameters": tensor.numel(),
        "bytes": tensor.numel() * tensor.element_size(),
        "norm": float(values.norm()),
        "zeros": int((exact == 0).sum()) / count,
        "non_finite": int((~finite).sum()),
    }


def compare(
    adapters: Annotated[list[Path], typer.Argument(help="Adapter directories, for instance of languages.")],
    tasks: Annotated[list[Path] | None, typer.Option("--task", help="Task adapters, a second group; repeat.")] = None,
    base: Annotated[
        Path | None,
        path_option("--base", purpose="theta_pre: compare theta - theta_pre."),
    ] = None,
    threshold: Annotated[float, typer.Option("--threshold", help="Magnitude that counts as small.")] = 1e-3,
    out: Annotated[
        Path,
        path_option("--out", "-o", purpose="Directory for figures and JSON."),
    ] = Path("comparison"),
) -> None:
    """Print cosines, signs and sparsity of adapters, per layer and over all; write the figures."""
    from orchestrator.report.adapter_comparison import compare_groups, write_comparison

    if out.exists():
        raise InputError(Fault("the output exists already", str(out), todo="remove it or give another --out"))
    groups = {"languages" if tasks else "adapters": adapters, **({"tasks": tasks} if tasks else {})}
    comparison = compare_groups(groups, base, threshold)
    _print_comparison(comparison)
    write_comparison(comparison, out)
    Console().print(f"figures and comparison.json: {_shown(out)}", soft_wrap=True)


def _print_comparison(comparison: AdapterComparison) -> None:
    console = Console()
    for group in comparison.groups:
        labels = [_shown(label) for label in group.labels]
        whole = group.agreement["all"]
        for title, matrix in (("cosine", whole.cosine), ("sign agreement", whole.sign_agreement)):
            table = Table("", *labels, title=f"{group.name}: {title} over {whole.parameters:,} parameters")
            for label, row in zip(labels, matrix.tolist(), strict=True):
                table.add_row(label, *(f"{value:.3f}" for value in row))
            console.print(table)
        if group.delta_cosine is not None:
            table = Table("", *labels, title=f"{group.name}: cosine of delta W")
            for label, row in zip(labels, group.delta_cosine.tolist(), strict=True):
                table.add_row(label, *(f"{value:.3f}" for value in row))
            console.print(table)
        if group.no_delta:
            console.print(f"{group.name}: no cosine of delta W: {_shown(group.no_delta)}", soft_wrap=True)
        console.print(_sparsity_table(labels, group.agreement, comparison.threshold, group.name))


def _sparsity_table(labels: list[str], agreement: Any, threshold: float, name: str) -> Table:
    columns = [f"{label}: 0 / small" for label in labels]
    title = f"{name}: per layer; small is |x| <= {threshold:g}"
    table = Table("part", "parameters", "mean cosine", "mean sign agreement", *columns, title=title)
    for part, values in agreement.items():
        shares = zip(values.zeros.tolist(), values.small.tolist(), strict=True)
        cells = [f"{zero:.1%} / {small:.1%}" for zero, small in shares]
        means = (_mean_of_pairs(values.cosine), _mean_of_pairs(values.sign_agreement))
        table.add_row(part, f"{values.parameters:,}", *(f"{mean:.3f}" for mean in means), *cells)
    return table


def _mean_of_pairs(matrix: Any) -> float:
    """Mean over pairs of different vectors; one vector agrees with itself."""
    count = len(matrix)
    pairs = count * (count - 1)
    return (float(matrix.sum()) - float(matrix.trace())) / pairs if pairs else 1.0
