"""A LoRA for servers out of finished adapters: written, and its logits compared with theirs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from jobs.adapters.adapter import Adapter
from jobs.adapters.formats import read_adapter, write_adapter
from jobs.errors import InputError
from jobs.merging.served import Served, served_lora
from jobs.models.config_gate import checked_model_files
from jobs.models.peft.logits import compare_logits
from jobs.spec import BackboneRef
from orchestrator.lineage.model_card import ServedFacts


def write_served(
    sources: Sequence[Path], backbone: BackboneRef | None, rank: int | None, folder: Path, name: str
) -> ServedFacts:
    """Write one LoRA that vLLM takes, with what the adapters in `sources` do together, into `folder`.

    `backbone`: with the path of its files; None where they are not at hand, and then neither its architecture is
    checked nor are logits compared. Raises InputError as `served_lora`.
    """
    adapters = [read_adapter(source) for source in sources]
    config: dict[str, Any] = checked_model_files(Path(backbone.path), backbone.name) if backbone else {}
    served = served_lora(adapters, str(config.get("model_type", "")), rank)
    write_adapter(served.merged.adapter, folder)
    facts = (*_facts(served, adapters), _compared(backbone, adapters, read_adapter(folder)))
    return ServedFacts(name, served.rank, facts)


def _facts(served: Served, adapters: Sequence[Adapter]) -> Iterator[tuple[str, str]]:
    if len(adapters) > 1:
        yield "made of", "the adapter and the language adapter that it was trained on, as one sum"
    yield "rank", f"{served.rank} in every module (`max_lora_rank`); {served.needed} is what it needs to be exact"
    if served.untouched:
        yield "weights", "the adapter's own, with zeros beside them"
    elif lost := served.merged.truncation():
        error, worst = lost["relative_error"], lost["worst_relative_error"]
        yield "change of weights", _error(error, worst, lost["worst_module"])


def _error(error: float, worst: float, module: str) -> str:
    if not worst:
        return "exact, but for one rounding of each factor"
    named = module.removeprefix("base_model.model.")
    return f"truncated, with a relative error of {error:.3g} over all modules and at worst {worst:.3g} ({named})"


def _compared(backbone: BackboneRef | None, before: Sequence[Adapter], after: Adapter) -> tuple[str, str]:
    if backbone is None:
        return "logits", "not compared: the backbone is not at hand (--backbone), nor was its architecture checked"
    try:
        found = compare_logits(backbone, before, [after])
    except InputError as fault:
        return "logits", f"not compared: {fault.faults[0]}"
    moved = f"the adapter itself moves them by up to {found.moved:.3g}"
    return "logits on three sentences", f"differ by at most {found.difference:.3g} from before; {moved}"
