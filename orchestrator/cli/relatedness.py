"""What `languages related` asks of texts, of a backbone, and of a campaign's adapters."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from jobs.errors import Fault, InputError, raise_all
from jobs.spec import BackboneRef
from orchestrator.campaign.data import BackboneSection, DataSection
from search_spaces.relatedness.distances import kind_faults
from search_spaces.relatedness.model_distances import ModelDistances
from search_spaces.relatedness.text_distances import TEXT_KINDS, TextDistances

if TYPE_CHECKING:
    from orchestrator.plan.text_source import TextPlaces
    from orchestrator.results.inputs import ReportInputs

FIRST_TEXTS = 200  # of each language, for measures that a model makes
FEW_STEPS = 10


@dataclass(frozen=True, slots=True)
class Asked:
    """A measure and what it is of: `text` the target's file, `corpora` the pattern of the others' ("": the CLDR), whose
    `backbone`, the `campaign` whose adapters are compared, `count` texts of each language, a `layer`, and optimizer
    `steps`.
    """

    by: str
    text: Path | None = None
    corpora: str = ""
    backbone: str = "embedded"
    campaign: str = ""
    count: int = FIRST_TEXTS
    layer: int = 0
    steps: int = FEW_STEPS

    def text_distances(self, target: str, pool: Sequence[str], workspace: Path) -> TextDistances:
        """Distances of target and pool by their texts. Raises InputError for texts that cannot be read, and a target's
        that is too short.
        """
        from orchestrator.plan.text_source import text_distances

        kinds = [kind.strip() for kind in self.by.split("+")]
        raise_all(kind_faults(self.by, tuple(TEXT_KINDS)))
        places, backbone = self._places([target], workspace)
        found = text_distances(kinds, (target, *pool), places, backbone)
        where = str(self.text or self.corpora or "the CLDR")
        raise_all(
            Fault(f"no distance by {kind}", where, short[target], "give another --text, or choose another distance")
            for kind, short in found.short.items()
            if target in short
        )
        return found

    def model_distances(self, targets: Sequence[str], pool: Sequence[str], workspace: Path) -> ModelDistances:
        """Distances of each target to the pool by a model. Raises InputError for missing texts and adapters."""
        from orchestrator.plan.text_source import neighbour_distances
        from orchestrator.results.adapter_distances import few_step_distances, loss_distances, vector_distances

        if self.by == "vectors":
            return vector_distances(self._inputs(workspace), targets, pool)
        places, backbone = self._places(targets, workspace)
        if self.by == "neighbours":
            found = neighbour_distances(targets, pool, places, backbone, self.count, self.layer)
        elif self.by == "few-steps":
            inputs, cache = self._inputs(workspace), workspace / "cache"
            all_texts = {code: places.first(code, self.count) for code in dict.fromkeys((*targets, *pool))}
            found = few_step_distances(inputs, all_texts, targets, self.steps, backbone, cache)
        else:
            texts = {target: data for target in targets if (data := places.first(target, self.count)) is not None}
            found = loss_distances(self._inputs(workspace), texts, pool, backbone, workspace / "cache")
        where = str(self.text or self.corpora or "the CLDR")
        todo = "give its --text"
        raise_all(Fault("the target has no text", where, one, todo) for one in targets if one not in found.values)
        return found

    def languages(self, workspace: Path) -> list[str]:
        """Those that have an adapter in the campaign."""
        from orchestrator.results.adapter_distances import languages_measured

        return list(languages_measured(self._inputs(workspace)))

    def _inputs(self, workspace: Path) -> ReportInputs:
        from orchestrator.results.inputs import read_inputs

        if not self.campaign:
            todo = "name one that has run in this workspace"
            raise InputError(Fault(f"{self.by} is measured by a campaign's adapters", "--campaign", todo=todo))
        return read_inputs(workspace, self.campaign)

    def _places(self, targets: Sequence[str], workspace: Path) -> tuple[TextPlaces, BackboneRef]:
        from orchestrator.plan.pinned_references import References
        from orchestrator.plan.text_source import TextPlaces

        if self.text and "{language}" not in str(self.text) and not self.text.is_file():
            raise InputError(Fault("there is no such file", "--text", str(self.text)))
        if self.text and "{language}" not in str(self.text) and len(targets) > 1:
            raise InputError(Fault("one text for several targets", "--text", str(self.text), "put {language} into it"))
        references = References(workspace / "cache")
        backbone = references.backbone(_backbone_section(self.backbone))
        section = _files_section(str(self.text)) if self.text else None
        corpora = _files_section(self.corpora) if self.corpora else DataSection(source="cldr")
        return TextPlaces(references, corpora, dict.fromkeys(targets, section) if section else {}), backbone


def _backbone_section(named: str) -> BackboneSection:
    return BackboneSection(path=named) if Path(named).is_dir() else BackboneSection(name=named)


def _files_section(pattern: str) -> DataSection:
    suffix = Path(pattern.removesuffix(".gz")).suffix
    source: Literal["json", "csv", "text"] = "text"
    if suffix in (".json", ".jsonl", ".csv"):
        source = "csv" if suffix == ".csv" else "json"
    return DataSection(source=source, files=pattern)
