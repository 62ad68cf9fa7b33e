import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from jobs.errors import InputError
from jobs.spec import EvaluationSpec, SearchSpec
from orchestrator.campaign.load import load_campaign
from orchestrator.plan.pinned_references import References
from orchestrator.plan.plan import plan_campaign
from tests.orchestrator.campaign_files import BASE, LABELS, planned, write_data, write_file

ROOT = Path(__file__).parents[3]
LANGUAGES_OF_A_FLEET = 1000


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    place = tmp_path_factory.mktemp("campaign")
    write_data(place)
    return place


@pytest.fixture(scope="module")
def plan(folder):
    return planned(folder)


def keys(plan):
    return [step.key for step in plan.steps]


def of(plan, job):
    return [step for step in plan.steps if step.job == job]


def comparison(plan, target, task):
    return next(c for c in plan.comparisons if (c.target, c.task.name) == (target, task))


def ancestors(step):
    for _, source in step.inputs:
        yield source
        yield from ancestors(source)


def test_inputs_come_before_the_steps_that_need_them_and_every_step_once(plan):
    place = {key: number for number, key in enumerate(keys(plan))}
    assert len(place) == len(plan.steps)
    for step in plan.steps:
        assert all(place[source.key] < place[step.key] for _, source in step.inputs)


def test_every_pool_language_is_trained_for_every_seed(plan):
    assert {s.name for s in of(plan, "language-adapter")} == {
        f"{code}-s{seed}" for code in ("en", "es", "pt", "fr") for seed in (1, 2)
    }
    assert len(of(plan, "initial-adapter")) == 1
    assert [s.name for s in of(plan, "task-adapter")] == ["ner-en-s1", "ner-en-s2"]


def test_a_zero_shot_target_is_compared_without_an_adapter_of_its_own(plan):
    found = comparison(plan, "gl", "ner")
    related = found.related.chosen[0].code
    assert related in ("es", "pt", "fr")
    assert found.search.spec.space.pairs == (("en", related),)
    assert [system.role for system in found.systems] == ["bare", "proxy", "proxy", "fixed", "arithmetic"]
    assert [system.languages for system in found.systems[:4]] == [(), ("en",), (related,), ("en", related)]
    bare = found.systems[0].evaluations[0][1]
    assert bare.spec.weights == () and [role for role, _ in bare.inputs] == ["task"]
    fixed = found.systems[3].evaluations[0][1].spec
    assert dict(fixed.weights) == {"language:en": 0.5, f"language:{related}": 0.5}


def test_an_enhancement_target_is_mixed_with_anchor_and_related_and_scored_alone_too(plan):
    found = comparison(plan, "es", "ner")
    related = found.related.chosen[0].code
    assert found.search.spec.space.pairs == (("en", "es"), (related, "es"))
    roles = ["bare", "proxy", "proxy", "own", "fixed", "pair", "pair", "arithmetic"]
    assert [system.role for system in found.systems] == roles
    assert found.systems[3].languages == ("es",)


def test_the_best_of_each_pair_is_merged_and_tested_where_an_enhancement_has_several(plan, folder):
    found = comparison(plan, "es", "ner")
    pairs = [system for system in found.systems if system.role == "pair"]
    assert [system.languages for system in pairs] == list(found.search.spec.space.pairs)
    assert [system.label for system in pairs] == [f"LA({a}, {b})" for a, b in found.search.spec.space.pairs]
    for system in pairs:
        for seed, evaluation in system.evaluations:
            merge = dict(evaluation.inputs)["merge"]
            assert merge.spec.pair == system.languages and merge.spec.seed == seed
            assert merge.name == f"es-ner-{'.'.join(system.languages)}-s{seed}"
            assert dict(merge.inputs)["search"] is found.search
    searched = comparison(planned(folder, {"search": {"strategy": "coarse", "evaluations": 30}}), "es", "ner")
    assert not [system for system in searched.systems if system.role == "pair"]


def test_a_search_by_parts_is_tested_beside_its_best_single_lambda(plan, folder):
    parts = ["invertible", "lower", "middle", "upper"]
    found = comparison(planned(folder, {"search.parts": parts}), "gl", "ner")
    assert found.search.spec.parts == tuple(parts) and found.search.key != comparison(plan, "gl", "ner").search.key
    assert comparison(plan, "gl", "ner").search.spec.parts == ()
    *_, single, arithmetic = found.systems
    assert (single.role, arithmetic.role) == ("single", "arithmetic")
    for (seed, one), (_, free) in zip(single.evaluations, arithmetic.evaluations, strict=True):
        merges = [dict(step.inputs)["merge"] for step in (one, free)]
        assert [merge.spec.single for merge in merges] == [True, False]
        assert merges[0].name == f"gl-ner-one-lambda-s{seed}" and dict(merges[0].inputs)["search"] is found.search


@pytest.mark.parametrize(
    ("adapter", "part", "message"),
    [
        ({}, "attention", "leave it out: bottleneck adapters stand after the feed-forward blocks"),
        ({}, "layers 7-9", "leave it out: they stand in 4 layers (counted from 0)"),
        ({"leave_out": [1, 2]}, "middle", "leave it out: they stand in 2 layers"),
    ],
)
def test_a_part_in_which_the_adapters_have_nothing_is_a_fault_of_the_plan(folder, adapter, part, message):
    changes = {f"language_adapter.{key}": value for key, value in adapter.items()}
    with pytest.raises(InputError) as refused:
        planned(folder, {"search.parts": [part], "backbone": {}, **changes})
    told = [str(fault) for fault in refused.value.faults if "search.parts" in str(fault)]
    assert told == [f"search.parts: nothing of the adapters is in this part (got {part}); {message}"]


def test_the_related_language_is_never_the_target_or_the_anchor(plan):
    for found in plan.comparisons:
        assert not {"en", found.target} & {one.code for one in found.related.chosen}


def test_a_merge_takes_the_search_theta_pre_and_the_adapters_of_its_seed(plan):
    for found in plan.comparisons:
        for seed, merge in found.merges:
            roles = dict(merge.inputs)
            assert roles["search"] is found.search and roles["theta_pre"].job == "initial-adapter"
            adapters = {r for r in roles if r.startswith("language:")}
            assert adapters == {f"language:{code}@{seed}" for pair in found.search.spec.space.pairs for code in pair}
            assert all(roles[role].spec.seed == seed for role in adapters)


def test_masked_lm_needs_no_task_adapter(plan):
    for found in plan.comparisons:
        roles = {role for _, step in found.systems[0].evaluations for role, _ in step.inputs}
        assert ("task" in roles) == (found.task.kind == "ner")
        assert any(role.startswith("task@") for role, _ in found.search.inputs) == (found.task.kind == "ner")


def test_test_data_never_enter_a_search(plan):
    assert "split" not in SearchSpec.__dataclass_fields__
    for search in of(plan, "search"):
        assert {split for split, _ in search.spec.data.files} == {"validation"}
        for source in ancestors(search):
            assert not isinstance(source.spec, EvaluationSpec)
            data = getattr(source.spec, "corpus", getattr(source.spec, "data", None))
            assert data is None or "test" not in dict(data.files)


def test_every_evaluation_is_of_test_data_and_the_winner_enters_as_an_input(plan):
    for step in of(plan, "evaluation"):
        assert step.spec.split == "test"
        assert [role for role, _ in step.spec.weights] == [role for role, _ in step.inputs if role != "task"]
    for found in plan.comparisons:
        for seed, step in found.systems[-1].evaluations:
            assert dict(step.inputs)["merge"] is dict(found.merges)[seed]


resources = st.fixed_dictionaries(
    {},
    optional={
        "bank_size": st.integers(0, 64),
        "banks_at_once": st.integers(0, 8),
        "cpus_per_bank": st.floats(0.1, 64),
        "gpus_per_bank": st.floats(0, 8),
        "evaluators": st.integers(0, 8),
        "attempts": st.integers(1, 5),
    },
)


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(resources, st.sampled_from(["", "off", "http://tracker:5000"]), st.text("abc", max_size=5))
def test_resources_tracking_and_words_change_no_identity(folder, plan, wanted, uri, words):
    changes = {"resources": wanted, "tracking": {"mlflow": uri}, "description": words, "campaign": "renamed"}
    assert keys(planned(folder, changes)) == keys(plan)


def test_moving_data_backbone_and_cache_changes_no_identity(tmp_path, plan):
    assert keys(planned(tmp_path)) == keys(plan)
    campaign = load_campaign(write_file(tmp_path))
    assert keys(plan_campaign(campaign, References(tmp_path / "another cache"))) == keys(plan)


def new_jobs(plan, other):
    known = set(keys(plan))
    return {step.job for step in other.steps if step.key not in known}


CHAIN = {"search", "merge", "evaluation"}
DEPENDANTS = {
    "language_adapter.training.optimizer_steps": (11, {"language-adapter", "task-adapter", *CHAIN}),
    "language_adapter.init_seed": (1, {"initial-adapter", "language-adapter", "task-adapter", *CHAIN}),
    "task_adapter.training.learning_rate": (0.5, {"task-adapter", *CHAIN}),
    "search.lambda_step": (0.5, {"search", "merge", "evaluation"}),
    "search.max_length": (64, CHAIN),
}


@pytest.mark.parametrize("setting", DEPENDANTS)
def test_a_changed_setting_renews_what_depends_on_it_and_nothing_else(folder, plan, setting):
    value, jobs = DEPENDANTS[setting]
    after = planned(folder, {setting: value})
    assert new_jobs(plan, after) == jobs
    known = set(keys(plan))
    renewed = {step.key for step in after.steps if step.key not in known}
    if "task-adapter" in jobs and "language-adapter" not in jobs:  # masked LM goes on as before
        assert all(s.spec.task.kind == "ner" for s in after.steps if s.key in renewed and s.job == "evaluation")
    if setting == "search.lambda_step":
        assert all("merge" in dict(s.inputs) for s in after.steps if s.key in renewed and s.job == "evaluation")


def test_a_seed_more_keeps_all_adapters_there_are(folder, plan):
    after = planned(folder, {"seeds": [1, 2, 3]})
    lost = set(keys(plan)) - set(keys(after))
    assert {key.split("/")[0] for key in lost} <= {"search", "merge", "evaluation"}
    assert not any(key for key in lost if key.startswith("evaluation") and "-merge-" not in key)


def test_a_language_more_keeps_the_others(folder, plan):
    pool = {"languages.pool": ["en", "es", "pt"]}
    adapters = {key for key in keys(plan) if key.startswith("language-adapter")}
    assert {k for k in keys(planned(folder, pool)) if k.startswith("language-adapter")} < adapters


def test_settings_at_their_default_may_be_written_out(folder, plan):
    written = {
        "language_adapter.training.weight_decay": 0,
        "language_adapter.reduction_factor": 2,
        "corpora.limits": {},
    }
    assert keys(planned(folder, written)) == keys(plan)


def test_several_related_languages_make_several_pairs(folder):
    found = comparison(planned(folder, {"comparisons.0.related": {"top": 2}}), "gl", "text")
    first, second = (one.code for one in found.related.chosen)
    assert found.search.spec.space.pairs == (("en", first), ("en", second))
    assert [system.role for system in found.systems] == ["bare", "proxy", "proxy", "proxy", "fixed", "arithmetic"]


MEASURED = """
import json, resource, sys, time
started = time.perf_counter()
from pathlib import Path
from orchestrator.campaign.load import load_campaign
from orchestrator.plan.plan import plan_campaign
from orchestrator.plan.pinned_references import References
from orchestrator.scheduling.cost import cost_model
from orchestrator.store.artifacts import ArtifactStore
from orchestrator.cli.tables import plan_table
folder = Path(sys.argv[1])
plan = plan_campaign(load_campaign(folder / "campaign.yaml"), References(folder / "cache"))
store = ArtifactStore(folder / "workspace")
plan_table(plan, {}, cost_model(store.records()))
jobs = {}
for step in plan.steps:
    jobs[step.job] = jobs.get(step.job, 0) + 1
status = Path("/proc/self/status")  # getrusage would also count the process that started this one
lines = status.read_text().splitlines() if status.exists() else []
peak = next((int(line.split()[1]) for line in lines if line.startswith("VmHWM")), 0)
peak = peak or resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
print(json.dumps({
    "jobs": jobs, "distinct": len({step.key for step in plan.steps}),
    "seconds": round(time.perf_counter() - started, 1), "cpu_seconds": round(time.process_time(), 1),
    "mebibytes": peak // 1024,
    "heavy": sorted({"torch", "ray", "mlflow", "datasets", "transformers"} & set(sys.modules)),
}))
"""


def fleet_codes():
    """Codes of languages that resolve to themselves and have a syntactic distance to each other."""
    import pycountry

    from jobs.errors import InputError
    from search_spaces.relatedness.codes import resolve_language
    from search_spaces.relatedness.ranking import rank

    codes = {}
    for entry in pycountry.languages:
        try:
            codes.setdefault(resolve_language(entry.alpha_3).key, entry.alpha_3)
        except InputError:
            continue
    return ["eng", *(one.code for one in rank("eng", list(codes.values())).related)][:LANGUAGES_OF_A_FLEET]


@pytest.mark.slow
def test_a_thousand_languages_three_tasks_and_three_seeds_are_planned(tmp_path, capsys):
    codes = fleet_codes()
    data = tmp_path / "data"
    data.mkdir()
    (tmp_path / "backbone").mkdir()
    (tmp_path / "backbone" / "config.json").write_text('{"model_type": "xlm-roberta"}')
    for code in codes:
        for split in ("train", "validation", "test"):
            (data / f"{code}-{split}.jsonl").write_text(f'{{"text": "{code} {split}"}}\n')
    ner = {"kind": "ner", "language": "eng", "labels": LABELS, "data": BASE["corpora"]}
    tasks = [{"name": "a", **ner}, {"name": "b", **ner}, {"name": "text", "kind": "masked-lm", "language": "eng"}]
    compared = {"kind": "enhancement", "targets": codes[1:], "tasks": ["a", "b", "text"]}
    write_file(tmp_path, {"languages.pool": codes, "tasks": tasks, "seeds": [1, 2, 3],
                          "comparisons": [{"name": "all", **compared}]})  # fmt: skip
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    answer = subprocess.run(
        [sys.executable, "-c", MEASURED, str(tmp_path)], capture_output=True, text=True, env=environment, check=True
    )
    facts = json.loads(answer.stdout)
    with capsys.disabled():
        print(f"\n{len(codes)} languages, 3 tasks, 3 seeds: {facts}")
    targets = 3 * (len(codes) - 1)
    assert len(codes) == LANGUAGES_OF_A_FLEET
    assert facts["heavy"] == []
    assert facts["distinct"] == sum(facts["jobs"].values())
    assert facts["jobs"]["language-adapter"] == 3 * len(codes)
    assert facts["jobs"]["task-adapter"] == 6
    assert facts["jobs"]["search"] == targets and facts["jobs"]["merge"] == 3 * targets * 3
