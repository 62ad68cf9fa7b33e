"""Distances of languages by the adapters of a finished campaign: what they make of a text, and where they point; or
where a training like theirs would turn.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import TypeAdapter

from jobs.data.digests import file_digest
from jobs.errors import Fault, InputError, raise_all
from jobs.spec import BackboneRef, DataRef, JobResult, LanguageAdapterSpec, Objective, TaskRef
from orchestrator.results.inputs import ReportInputs
from orchestrator.results.language_vectors import one_seed, start_of, vector_cosines
from orchestrator.store.record import Record
from search_spaces.relatedness.codes import in_any_spelling
from search_spaces.relatedness.model_distances import ModelDistances, loss_distance, vector_distance

MAX_LENGTH, MASK_PROBABILITY = 128, 0.15  # of a training that says nothing else


def languages_measured(inputs: ReportInputs) -> dict[str, Record]:
    """Language -> the record of its adapter, of one seed; those that others trained are there too.

    Raises InputError where no language's adapter is finished.
    """
    foreign = {r.spec["language"]: r for r in inputs.of_job("foreign-adapter") if "task" not in r.spec}
    found = {**foreign, **one_seed(inputs.of_job("language-adapter"))}
    if not found:
        todo = "run it, or name another campaign"
        raise InputError(Fault("no language adapter of this campaign is finished", inputs.campaign, todo=todo))
    return found


def loss_distances(
    inputs: ReportInputs, texts: Mapping[str, DataRef], pool: Sequence[str], backbone: BackboneRef, cache: Path
) -> ModelDistances:
    """The loss of each target's text (training split) under each language's adapter, by `loss_distance`.

    Tokens are hidden as in the adapters' training. Languages of the pool without an adapter are remarked on. Raises
    InputError for another backbone than the campaign's, and faulty texts.
    """
    from jobs.evaluation.adapter_losses import adapter_losses
    from jobs.tokens.evaluation_sets import EvaluationSet

    known = languages_measured(inputs)
    chosen = {code: record for code in pool if (record := in_any_spelling(known, code)) is not None}
    for record in chosen.values():
        _check_backbone(record, backbone)
    spec = next((record.spec for record in chosen.values() if "training" in record.spec), {})
    objective: Objective = spec.get("objective", "masked-lm")
    training = spec.get("training", {})
    length = training.get("max_length", MAX_LENGTH)
    hidden = training.get("mask_probability", MASK_PROBABILITY)
    task = TaskRef("text", objective)
    asked = {target: EvaluationSet(task, data, "train", length, hidden) for target, data in texts.items()}
    adapters = {code: inputs.store.fetch(record.key) for code, record in chosen.items()}
    losses, pieces = adapter_losses(asked, adapters, backbone, cache)
    values = {
        target: {code: loss_distance(loss, pieces) for code, loss in found.items()} for target, found in losses.items()
    }
    name = f"{objective} loss under adapters of {_of(inputs, known)}, as a share of ln {pieces:,}"
    return ModelDistances(name, "loss", values, _adapterless(pool, chosen))


def vector_distances(inputs: ReportInputs, targets: Sequence[str], pool: Sequence[str]) -> ModelDistances:
    """The cosine of theta - theta_pre of each target's adapter and each language's, by `vector_distance`.

    Of LoRA that of the updates delta W, which unlike its factors are unique. Adapters that others trained have no known
    start, and are left out with a remark. Raises InputError for targets without an adapter, and for LoKr, whose factors
    are not unique either.
    """
    _refuse_lokr(inputs)
    known = one_seed(inputs.of_job("language-adapter"))
    chosen = {code: record for code in (*targets, *pool) if (record := in_any_spelling(known, code)) is not None}
    if lacking := [target for target in targets if target not in chosen]:
        todo = "take a campaign that has trained one, or --by few-steps with the target's --text"
        what = "the target has no adapter that this campaign trained"
        raise InputError(*(Fault(what, inputs.campaign, target, todo) for target in lacking))
    adapters = {code: inputs.store.fetch(record.key) for code, record in chosen.items()}
    far = _far(inputs, adapters, start_of(chosen))
    values = {target: {code: far[target][code] for code in pool if code in chosen} for target in targets}
    name = f"cosine of {_what(inputs)} of {_of(inputs, known)}, (1 - cos) / 2"
    return ModelDistances(name, "vectors", values, _adapterless(pool, chosen))


def few_step_distances(
    inputs: ReportInputs,
    texts: Mapping[str, DataRef | None],
    targets: Sequence[str],
    steps: int,
    backbone: BackboneRef,
    cache: Path,
) -> ModelDistances:
    """The same of adapters that are trained for it, for `steps` optimizer steps on the training split of each
    language's text, from the campaign's theta_pre and by its settings (see `few_step_adapters`).

    All vectors are of one length of training: what is learned first is common to all languages, and the campaign's
    finished adapters have gone on from there. `targets` are among the keys of `texts`; those without a text have no
    distance, and other languages without one are remarked on. Nothing of the trainings is kept. Raises InputError for
    a target's text that cannot be learned from, another backbone than the campaign's, and LoKr.
    """
    from jobs.banks.few_steps import few_step_adapters

    _refuse_lokr(inputs)
    like, start = _training(inputs, backbone)
    wanted = {code: data for code, data in texts.items() if data is not None}
    with TemporaryDirectory(prefix="adapterfleet-") as folder:
        made = few_step_adapters(like, wanted, steps, inputs.store.fetch(start), Path(folder), cache)
        failed = {code: why for code, why in made.items() if isinstance(why, str)}
        todo = "give another --text, or choose another distance"
        raise_all(Fault("no distance by few-steps", one, failed[one], todo) for one in targets if one in failed)
        adapters = {code: Path(folder) / code for code in made if code not in failed}
        far = _far(inputs, adapters, start) if adapters else {}
    values = {one: {code: far[one][code] for code in adapters if code != one} for one in targets if one in adapters}
    told = {code: f"{code}: there is no text" for code in texts if code not in wanted}
    told |= {code: f"{code}: {why}" for code, why in failed.items()}
    told |= {one: _text_of(one, wanted[one], made[one], cache) for one in values}
    length = f"{steps} optimizer steps on each language's text"
    settings = f"theta_pre and settings of campaign {inputs.campaign}, seed {like.seed}"
    name = f"cosine of {_what(inputs)} after {length}, {settings}, (1 - cos) / 2"
    return ModelDistances(name, "few-steps", values, told)


def _training(inputs: ReportInputs, backbone: BackboneRef) -> tuple[LanguageAdapterSpec, str]:
    """How the campaign trains language adapters of the seed that has most, and the key of their theta_pre."""
    for record in one_seed(inputs.of_job("language-adapter")).values():
        _check_backbone(record, backbone)
        spec = TypeAdapter(LanguageAdapterSpec).validate_python(record.spec)  # without its locations
        return replace(spec, backbone=backbone), record.inputs["theta_pre"]
    todo = "run it, or name another campaign"
    raise InputError(Fault("no language adapter that this campaign trained is finished", inputs.campaign, "", todo))


def _text_of(code: str, data: DataRef, made: JobResult | str, cache: Path) -> str:
    """`gl: 1,688 tokens of text, sha256:4f2a...`: of a file its own digest, which other tools show too."""
    assert isinstance(made, JobResult)
    files = dict(data.files)
    digest = file_digest(Path(files["train"]), cache) if "train" in files else data.revision
    limit = f", the first {dict(data.limits)['train']:,} texts" if "train" in dict(data.limits) else ""
    return f"{code}: {made.details['corpus_tokens']:,} tokens of text ({digest}{limit})"


def _far(inputs: ReportInputs, adapters: Mapping[str, Path], start: str) -> dict[str, dict[str, float]]:
    """`vector_distance` of each of `adapters` (language -> directory) to each. `start`: the key of their theta_pre."""
    cosines: NDArray[Any]
    if inputs.adapter == "lora":
        from jobs.adapters.formats import read_adapter
        from jobs.merging.analysis import cosine_of, delta_gram

        cosines = cosine_of(delta_gram([read_adapter(folder) for folder in adapters.values()])).numpy()
    else:
        cosines = vector_cosines(list(adapters.values()), inputs.store.fetch(start))
    far = np.vectorize(vector_distance, otypes=[float])(cosines)
    return {code: dict(zip(adapters, row, strict=True)) for code, row in zip(adapters, far.tolist(), strict=True)}


def _what(inputs: ReportInputs) -> str:
    return "updates delta W" if inputs.adapter == "lora" else "theta - theta_pre"


def _refuse_lokr(inputs: ReportInputs) -> None:
    if inputs.adapter == "kronecker":
        todo = "take another kind of distance"
        raise InputError(Fault("vectors of LoKr's factors say nothing: they are not unique", inputs.campaign, "", todo))


def _check_backbone(record: Record, backbone: BackboneRef) -> None:
    """Raise InputError unless an adapter was trained on `backbone`."""
    trained_on = record.spec["backbone"]
    if trained_on["revision"] != backbone.revision:
        got = f"{backbone.name} {backbone.revision[:19]}"
        todo = f"the campaign's is {trained_on['name']} {trained_on['revision'][:19]}"
        raise InputError(Fault("the adapters were made for another backbone", "--backbone", got, todo))


def _adapterless(pool: Sequence[str], chosen: Mapping[str, Record]) -> dict[str, str]:
    return {code: f"{code}: no adapter that could be compared" for code in pool if code not in chosen}


def _of(inputs: ReportInputs, records: Mapping[str, Record]) -> str:
    seeds = {record.spec["seed"] for record in records.values() if "seed" in record.spec}
    return f"campaign {inputs.campaign}{''.join(f', seed {seed}' for seed in sorted(seeds))}"
