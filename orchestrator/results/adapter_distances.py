"""Distances of languages by the adapters of a finished campaign: what they make of a text, and where they point."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from jobs.errors import Fault, InputError
from jobs.spec import BackboneRef, DataRef, Objective, TaskRef
from orchestrator.results.inputs import ReportInputs
from orchestrator.results.language_vectors import measure, one_seed
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
        trained_on = record.spec["backbone"]
        if trained_on["revision"] != backbone.revision:
            got = f"{backbone.name} {backbone.revision[:19]}"
            todo = f"the campaign's is {trained_on['name']} {trained_on['revision'][:19]}"
            raise InputError(Fault("the adapters were made for another backbone", "--backbone", got, todo))
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
    if inputs.adapter == "kronecker":
        todo = "take another kind of distance"
        raise InputError(Fault("vectors of LoKr's factors say nothing: they are not unique", inputs.campaign, "", todo))
    known = one_seed(inputs.of_job("language-adapter"))
    chosen = {code: record for code in (*targets, *pool) if (record := in_any_spelling(known, code)) is not None}
    if lacking := [target for target in targets if target not in chosen]:
        todo = "take another kind of distance, or a campaign that has trained one"
        what = "the target has no adapter that this campaign trained"
        raise InputError(*(Fault(what, inputs.campaign, target, todo) for target in lacking))
    if inputs.adapter == "lora":
        from jobs.adapters.formats import read_adapter
        from jobs.merging.analysis import cosine_of, delta_gram

        gram = delta_gram([read_adapter(inputs.store.fetch(record.key)) for record in chosen.values()])
        cosines: Sequence[Sequence[float]] = cosine_of(gram).tolist()
    else:
        cosines = measure(inputs, chosen).cosine
    table = {code: dict(zip(chosen, row, strict=True)) for code, row in zip(chosen, cosines, strict=True)}
    values = {
        target: {code: vector_distance(table[target][code]) for code in pool if code in chosen} for target in targets
    }
    what = "updates delta W" if inputs.adapter == "lora" else "theta - theta_pre"
    return ModelDistances(
        f"cosine of {what} of {_of(inputs, known)}, (1 - cos) / 2", "vectors", values, _adapterless(pool, chosen)
    )


def _adapterless(pool: Sequence[str], chosen: Mapping[str, Record]) -> dict[str, str]:
    return {code: f"{code}: no adapter that could be compared" for code in pool if code not in chosen}


def _of(inputs: ReportInputs, records: Mapping[str, Record]) -> str:
    seeds = {record.spec["seed"] for record in records.values() if "seed" in record.spec}
    return f"campaign {inputs.campaign}{''.join(f', seed {seed}' for seed in sorted(seeds))}"
