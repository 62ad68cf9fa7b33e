"""Plans of the papers' methods: prompted tasks with LoRA, named entities with MAD-X; nothing is trained here."""

import json

import pytest
import yaml

from jobs.errors import InputError
from jobs.spec import EvaluationSpec, LineSpace, LoraConfig, MergeSpec, SearchSpec, TaskAdapterSpec
from orchestrator.campaign.load import load_campaign
from orchestrator.campaign.notes import campaign_notes
from orchestrator.plan.index import index
from orchestrator.plan.pinned_references import References
from orchestrator.plan.plan import plan_campaign
from search_spaces.mixtures.spaces import candidates

TRAINING = {"optimizer_steps": 5, "max_length": 32}
LORA = {"lora": {"rank": 4, "target_modules": ["query", "key"]}, "objective": "causal-lm", "training": TRAINING}
CODES = ("en", "es", "pt", "gl", "fr", "ca", "it")


def copying(folder, name, **keys):
    """A prompted task with data in every language."""
    for code in CODES:
        for split in ("train", "validation", "test"):
            file = folder / "data" / code / f"{split}.jsonl"
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(json.dumps({"question": f"{code} {split}", "answer": code}) + "\n")
    data = {"source": "json", "files": f"{folder}/data/{{language}}/{{split}}.jsonl"}
    return {"name": name, "kind": "generation", "prompt": "{question}", "answer": " {answer}", "data": data, **keys}


def plan(folder, comparison, **changes):
    document = {
        "campaign": "mixtures",
        "corpora": {"source": "cldr"},
        "languages": {"pool": ["en", "es", "pt", "gl", "fr"]},
        "language_adapter": LORA,
        "task_adapter": {"training": TRAINING},
        "tasks": [copying(folder, "copy", sources=["en", "es", "pt"]), copying(folder, "other", prompt="{question}?")],
        "comparisons": [{"name": "table", "kind": "mixture", "tasks": ["copy"], "targets": ["gl"], **comparison}],
        "search": {"lambda_step": 0.25, "max_length": 32},
        **changes,
    }
    file = folder / "campaign.yaml"
    file.write_text(yaml.safe_dump(document))
    return plan_campaign(load_campaign(file), References(folder / "cache"))


def stacked(folder, comparison):
    """The same with MAD-X adapters and named entities."""
    tasks = [{"name": "copy", "kind": "ner", "data": {"source": "cldr"}}]
    return plan(folder, comparison, language_adapter={"training": TRAINING}, tasks=tasks)


def searched(comparison):
    assert isinstance(comparison.search.spec, SearchSpec)
    return [dict(candidate.mixture.weights) for candidate in candidates(comparison.search.spec.space)]


def test_tipa_is_a_sum_over_the_related_languages_with_nothing_to_search_as_method_and_as_baseline(tmp_path):
    table = tmp_path / "near.tsv"
    table.write_text("a\tb\tkind\tdistance\ngl\tpt\tsyntactic\t0.1\ngl\tes\tsyntactic\t0.6\n")
    related = {"by": "syntactic", "top": 9, "source": str(table), "pool": ["es", "pt"]}
    (comparison,) = stacked(tmp_path, {"methods": ["tipa"], "baselines": ["proxy"], "related": related}).comparisons
    assert searched(comparison) == [{"pt": 0.622459, "es": 0.377541}]  # 1 / (1 + e^-0.5), by hand
    (folder := tmp_path / "baseline").mkdir()
    methods = {"methods": ["language-arithmetic-own"], "baselines": ["tipa"], "related": related}
    baseline = stacked(folder, methods).comparisons[0].systems[0]
    assert baseline.name == "tipa" and baseline.languages == ("pt", "es")
    weights = dict(baseline.evaluations[0][1].spec.weights)
    assert weights == {"language:pt": 0.622459, "language:es": 0.377541}


def test_add_and_subtract_is_searched_merged_and_tested_against_its_baseline(tmp_path):
    found = plan(tmp_path, {"methods": ["add-subtract"], "baselines": ["task-adapter", "no-adapter"]})
    (comparison,) = found.comparisons
    assert searched(comparison) == [
        {"gl": 1.0, "en": -1.0},
        {"task:en": 0.25, "gl": 0.75, "en": -0.75},
        {"task:en": 0.5, "gl": 0.5, "en": -0.5},
        {"task:en": 0.75, "gl": 0.25, "en": -0.25},
        {"task:en": 1.0},
    ]
    assert [system.name for system in comparison.systems] == ["task-adapter", "no-adapter", "arithmetic"]
    task, nothing, ours = (system.evaluations[0][1] for system in comparison.systems)
    assert isinstance(task.spec, EvaluationSpec)
    assert task.spec.weights == (("task:en", 1.0),) and [role for role, _ in task.inputs] == ["task:en"]
    assert nothing.inputs == () and [role for role, _ in ours.inputs] == ["merge"]


def test_merged_task_adapters_start_from_theta_pre_and_have_its_shape(tmp_path):
    found = plan(tmp_path, {"methods": ["best"]})
    tasks = [step for step in found.steps if isinstance(step.spec, TaskAdapterSpec)]
    assert [step.spec.language for step in tasks] == ["en", "es", "pt"]
    assert all([role for role, _ in step.inputs] == ["theta_pre"] for step in tasks)
    assert {step.spec.adapter for step in tasks} == {LoraConfig(4, 4.0, ("query", "key"))}
    assert searched(found.comparisons[0]) == [{"task:en": 1.0}, {"task:es": 1.0}, {"task:pt": 1.0}]


def test_a_multilingual_adapter_is_trained_on_all_sources(tmp_path):
    found = plan(tmp_path, {"methods": ["add-all"], "baselines": ["multilingual"]})
    (task,) = [s.spec for s in found.steps if isinstance(s.spec, TaskAdapterSpec) and s.spec.language == "multilingual"]
    assert [task.data.language, *(data.language for data in task.more_data)] == ["en", "es", "pt"]


def test_related_languages_are_those_within_both_bounds(tmp_path):
    found = plan(tmp_path, {"methods": ["add-related"], "related": {"within": {"syntactic": 0.7, "geographic": 0.3}}})
    (comparison,) = found.comparisons
    codes = [one.code for one in comparison.related.chosen]
    assert set(codes) <= {"en", "es", "pt"} and codes
    assert searched(comparison) == [{f"task:{code}": pytest.approx(1 / len(codes)) for code in codes}]


def test_adamergex_takes_the_reference_from_language_modelling_or_another_task(tmp_path):
    found = plan(tmp_path, {"methods": ["adamergex", "arimerge"], "baselines": ["task-adapter"]})
    assert [comparison.name for comparison in found.comparisons] == ["table: adamergex", "table: arimerge"]
    space = found.comparisons[0].search.spec.space
    assert isinstance(space, LineSpace) and space.method == "adamergex"
    inputs = dict(found.comparisons[0].search.inputs)
    assert inputs["reference:gl@42"].key.startswith("language-adapter/gl-")
    (folder := tmp_path / "other").mkdir()
    other = plan(folder, {"methods": ["adamergex"], "reference": "other"})
    inputs = dict(other.comparisons[0].search.inputs)
    assert inputs["reference:gl@42"].key.startswith("task-adapter/other-gl-")


def test_factors_may_be_merged_apart_as_the_papers_do(tmp_path):
    both = {"name": "sum", "weights": {"task:{source}": 1, "language:{target}": 1}}
    comparison = {"methods": ["add"], "baselines": ["task-adapter", both]}
    (apart,) = plan(tmp_path, {**comparison, "space": "factors"}).comparisons
    (whole,) = plan(tmp_path, comparison).comparisons
    assert apart.search.spec.space.options == (("space", "factors"),) and whole.search.spec.space.options == ()
    alone, summed, _ = (system.evaluations[0][1].spec for system in apart.systems)
    assert alone.options == () and summed.options == (("space", "factors"),)
    assert apart.systems[0].evaluations[0][1].key == whole.systems[0].evaluations[0][1].key, "one adapter is no sum"


def test_mad_x_trains_the_task_on_top_of_its_language_and_puts_it_on_top_of_the_targets(tmp_path):
    found = plan(tmp_path, {"methods": ["adamergex"], "baselines": ["task-adapter", "mad-x"]})
    (comparison,) = found.comparisons
    alone, stack = (system.evaluations[0][1] for system in comparison.systems[:2])
    assert stack.spec.weights == (("language:gl", 1.0),)
    inputs = dict(stack.inputs)
    assert set(inputs) == {"language:gl", "task"}
    below = dict(inputs["task"].inputs)
    assert below["language:en"].key.startswith("language-adapter/en-") and "theta_pre" in below
    assert inputs["task"].spec == dict(alone.inputs)["task:en"].spec
    assert inputs["task"].key != dict(alone.inputs)["task:en"].key


def test_a_baseline_may_ask_in_other_words(tmp_path):
    words = "I want you to act as an expert for {target}.\n{question} {{target}}"
    baselines = ["no-adapter", {"name": "xlt", "label": "XLT", "weights": {}, "prompt": words}]
    found = plan(tmp_path, {"methods": ["adamergex"], "baselines": baselines})
    plain, xlt = (system.evaluations[0][1].spec for system in found.comparisons[0].systems[:2])
    assert xlt.task.prompt == "I want you to act as an expert for Galician.\n{question} {{target}}"
    assert (xlt.task.answer, xlt.data) == (plain.task.answer, plain.data) and plain.task.prompt == "{question}"


@pytest.mark.parametrize(("weight", "inputs"), [(0.7, ["task:en", "theta_pre"]), (1, ["task:en", "theta_pre"])])
def test_task_arithmetic_as_a_baseline_starts_from_theta_pre(tmp_path, weight, inputs):
    baseline = {"name": "less", "weights": {"task:{source}": weight}, "rule": "task_arithmetic"}
    found = plan(tmp_path, {"methods": ["adamergex"], "baselines": [baseline]})
    step = found.comparisons[0].systems[0].evaluations[0][1]
    assert sorted(dict(step.inputs)) == inputs and dict(step.inputs)["theta_pre"].key == found.steps[0].key


def test_arimerge_is_its_own_rule_and_what_is_one_formula_is_said(tmp_path):
    comparison = {"methods": ["adamergex", "arimerge", "linear-negate-b"], "baselines": ["task-adapter"]}
    found = plan(tmp_path, comparison)
    assert [one.search.spec.space.method for one in found.comparisons] == ["adamergex", "arimerge", "linear_negate_b"]
    (note,) = campaign_notes(found.campaign)
    assert note.startswith("comparison table: AdaMergeX and AriMerge are one formula for these adapters")
    assert index(found)["notes"] == [note]
    assert campaign_notes(plan(tmp_path, {**comparison, "methods": ["adamergex", "linear-negate-b"]}).campaign) == ()


def test_dare_that_drops_much_is_remarked_on(tmp_path):
    weights = {"task:{source}": "lambda", "reference:{target}": "1 - lambda"}
    asked = {"name": "dropped", "rule": "dare_ties", "weights": weights, "options": {"density": 0.2}}
    (note,) = campaign_notes(plan(tmp_path, {"methods": [asked]}).campaign)
    assert note.startswith("comparison table, dropped: DARE at density 0.2 multiplies what it keeps by 5")
    kept = {**asked, "options": {"density": 0.5}}
    assert campaign_notes(plan(tmp_path, {"methods": [kept]}).campaign) == ()
    search = {"space": {"kind": "simplex", "step": 0.5, "rule": "dare", "options": {"density": [0.9, 0.1]}}}
    (note,) = campaign_notes(plan(tmp_path, {"methods": ["adamergex"]}, search=search).campaign)
    assert note.startswith("search.space: DARE at density 0.1")


def test_methods_that_are_sums_are_searched_by_part_and_others_are_named(tmp_path):
    found = plan(tmp_path, {"methods": ["add", "adamergex"]}, search={"lambda_step": 0.25, "parts": ["attention"]})
    add, adamergex = found.comparisons
    assert add.search.spec.parts == ("attention",) and adamergex.search.spec.parts == ()
    assert [system.role for system in add.systems] == ["single", "arithmetic"]
    assert [system.role for system in adamergex.systems] == ["arithmetic"]
    (note,) = campaign_notes(found.campaign)
    assert note.startswith("comparison table: AdaMergeX is no sum, and is searched with one lambda for all parts")
    with pytest.raises(InputError, match=r"target_modules are all of the other: query, key"):
        plan(tmp_path, {"methods": ["add"]}, search={"parts": ["feed-forward"]})


def test_layer_swapping_is_a_method_without_anything_to_search(tmp_path):
    (found,) = plan(tmp_path, {"methods": ["layer-swapping"]}).comparisons
    (weights,) = searched(found)
    assert weights == {"task:en": 1.0, "gl": 1.0} and found.search.spec.space.method == "layer_swapping"
    prefix = {"prefix": {"length": 3}, "objective": "causal-lm", "training": TRAINING}
    with pytest.raises(InputError, match="no middle layers to take .got layer-swapping.; prefixes are not divided"):
        plan(tmp_path, {"methods": ["layer-swapping"]}, language_adapter=prefix)


def test_arimerge_differs_from_adamergex_where_factors_are_multiplied(tmp_path):
    ia3 = {"ia3": {"target_modules": ["key"]}, "objective": "causal-lm", "training": TRAINING}
    found = plan(tmp_path, {"methods": ["adamergex", "arimerge"]}, language_adapter=ia3)
    assert campaign_notes(found.campaign) == ()


@pytest.mark.parametrize(
    ("baseline", "adapter", "words"),
    [
        ("mad-x", {"prefix": {"length": 3}, "objective": "causal-lm", "training": TRAINING}, "cannot be stacked"),
        ({"name": "x", "weights": {"stacked:ca": 1}}, LORA, "this language has no adapter"),
    ],
)
def test_a_stack_that_cannot_be_is_refused_when_planned(tmp_path, baseline, adapter, words):
    with pytest.raises(InputError, match=words):
        plan(tmp_path, {"methods": ["adamergex"], "baselines": [baseline]}, language_adapter=adapter)


@pytest.mark.parametrize(
    ("baseline", "words"),
    [
        ("mad-x", "no task adapter to put on top"),
        ({"name": "x", "weights": {}, "prompt": "Tell"}, "not asked in words"),
    ],
)
def test_stacked_tasks_have_neither_another_stack_nor_other_words(tmp_path, baseline, words):
    with pytest.raises(InputError, match=words):
        stacked(tmp_path, {"methods": ["language-arithmetic-own"], "baselines": [baseline]})


def test_ties_on_stacked_adapters_searches_its_own_lambda(tmp_path):
    comparison = {"methods": ["ties-20", "language-arithmetic"], "baselines": ["proxy"], "related": {"top": 1}}
    found = stacked(tmp_path, comparison)
    ties, arithmetic = found.comparisons
    mixtures = [candidate.mixture for candidate in candidates(ties.search.spec.space)]
    assert {mixture.method for mixture in mixtures} == {"ties"}
    assert [dict(mixture.options)["lambda"] for mixture in mixtures] == [0.8, 1.05, 1.3, 1.55, 1.8]
    assert "task@42" in dict(ties.search.inputs) and "task@42" not in dict(ties.merges[0][1].inputs)
    assert isinstance(ties.merges[0][1].spec, MergeSpec)
    assert len(searched(arithmetic)) == 5


def test_a_stacked_task_adapter_cannot_be_merged(tmp_path):
    with pytest.raises(InputError, match="stacked cannot be merged"):
        stacked(tmp_path, {"methods": ["add"]})


def test_a_language_without_adapter_is_named(tmp_path):
    with pytest.raises(InputError, match="this language has no adapter") as refused:
        plan(tmp_path, {"methods": ["add"], "targets": ["ca", "it"]})
    assert {fault.got for fault in refused.value.faults} == {"ca", "it"}


def test_a_method_of_ones_own_takes_a_few_lines(tmp_path):
    own = {"name": "half", "weights": {"task:{source}": 1, "language:{target}": "lambda / 2"}, "lambdas": [0, 1]}
    found = plan(tmp_path, {"methods": [own]})
    assert searched(found.comparisons[0])[-1] == {"task:en": 1.0, "gl": 0.5}


@pytest.mark.parametrize(
    ("comparison", "words"),
    [
        ({"methods": ["ad"]}, 'unknown method; did you mean "add"'),
        ({"methods": []}, r"comparisons\[0\].methods: at least 1 item is wanted, not 0"),
        ({"methods": ["add"], "baselines": ["best"]}, "a baseline has nothing to search"),
        ({"methods": ["add", "add"]}, "named twice: add"),
        ({"methods": ["adamergex"], "reference": "othr"}, 'unknown task.*did you mean "other"'),
        ({"methods": [{"name": "x", "weights": {"lang:en": 1}}]}, "not an adapter"),
        ({"methods": [{"name": "x", "weights": {"task:en": "lambda**2"}}]}, "not a weight"),
        (
            {"kind": "zero-shot", "targets": ["ca"], "methods": ["add"]},
            "methods: unknown key; it belongs to mixture",
        ),
        ({"methods": ["add"], "space": "kronecker"}, "no such space.*choose factors or delta"),
        ({"methods": ["mad-x"]}, "words to ask in and stacked adapters are of baselines: mad-x"),
        ({"methods": ["add"], "baselines": [{"name": "x", "weights": {"task:en": 1}, "rule": "ties"}]}, "weighted sum"),
        ({"methods": ["add"], "baselines": [{"name": "x", "weights": {"stacked:en": 0.5}}]}, "stacked, with weight 1"),
        ({"methods": ["add"], "baselines": [{"name": "x", "weights": {}, "prompt": "{a"}]}, "a lone {"),
    ],
)
def test_faults_of_mixtures_are_told(tmp_path, comparison, words):
    with pytest.raises(InputError, match=words):
        plan(tmp_path, comparison)


def test_the_index_says_which_method_a_comparison_tests(tmp_path):
    entries = index(plan(tmp_path, {"methods": ["add", "add-subtract"], "baselines": ["task-adapter"]}))["comparisons"]
    assert [(e["section"], e["method"]) for e in entries] == [("table", "add"), ("table", "add-subtract")]


def test_each_related_language_may_have_a_comparison_of_its_own(tmp_path):
    related = {"top": 2, "each": True}
    comparison = {
        "methods": ["language-arithmetic"],
        "baselines": ["proxy", "proxy-related", "half"],
        "related": related,
    }
    found = stacked(tmp_path, comparison)
    assert len(found.comparisons) == 2
    for one in found.comparisons:
        (code,) = [related.code for related in one.related.chosen]
        assert one.name == f"table: {code}"
        assert [system.role for system in one.systems] == ["proxy", "proxy", "fixed", "arithmetic"]
        assert searched(one)[1] == {"en": 0.25, code: 0.75}


def test_a_task_adapter_of_weight_zero_stays_where_it_brings_the_head(tmp_path):
    lora = {"lora": {"rank": 4, "target_modules": ["query"]}, "training": TRAINING}
    ner = [{"name": "copy", "kind": "ner", "data": {"source": "cldr"}}]
    (headed,) = plan(tmp_path, {"methods": ["add"]}, language_adapter=lora, tasks=ner).comparisons
    assert searched(headed)[0] == {"task:en": 0.0, "gl": 1.0} and searched(headed)[-1] == {"task:en": 1.0}
    (asked,) = plan(tmp_path, {"methods": ["add"]}).comparisons
    assert searched(asked)[0] == {"gl": 1.0}
    alone = {"search": {"lambda_step": 0.25, "strategy": "coarse", "starts": ["alone"], "max_length": 32}}
    (headed,) = plan(tmp_path, {"methods": ["add"]}, language_adapter=lora, tasks=ner, **alone).comparisons
    starts = [dict(start.weights) for start in headed.search.spec.strategy.starts]
    assert starts == [{"task:en": 0.0, "gl": 1.0}, {"task:en": 1.0}]


def test_weights_may_name_languages_as_the_pool_writes_them(tmp_path):
    weights = {"language:zh_Hans": "lambda", "task:en": "1 - lambda"}
    method = {"name": "own", "weights": weights}
    (one,) = plan(tmp_path, {"methods": [method]}, languages={"pool": ["en", "zh_Hans"]}).comparisons
    assert searched(one)[1] == {"zh_Hans": 0.25, "task:en": 0.75}
    with pytest.raises(
        InputError, match="this language has no adapter .got cmn.; write it as in .languages.pool.: zh_H"
    ):
        method = {"name": "own", "weights": {"language:cmn": "lambda", "task:en": "1 - lambda"}}
        plan(tmp_path, {"methods": [method]}, languages={"pool": ["en", "zh_Hans"]})


def test_a_budget_limits_the_targets_own_adapter_alone(tmp_path):
    comparison = {"methods": ["language-arithmetic-own"], "baselines": ["own"], "budgets": [1000, 5000]}
    found = stacked(tmp_path, comparison)
    assert [one.name for one in found.comparisons] == ["table: 1,000 tokens", "table: 5,000 tokens"]
    for one, budget in zip(found.comparisons, (1000, 5000), strict=True):
        inputs = dict(one.search.inputs)
        assert inputs["language:gl@42"].spec.training.max_tokens == budget
        assert inputs["language:en@42"].spec.training.max_tokens == 0
        (own,) = [system for system in one.systems if system.role == "own"]
        assert dict(own.evaluations[0][1].inputs)["language:gl"] is inputs["language:gl@42"]


def test_a_joint_search_of_low_rank_adapters_weighs_languages_for_losses_on_text(tmp_path):
    comparison = {"kind": "joint", "targets": ["ca", "it"], "tasks": ["text"], "related": {"top": 2}}
    catalan, italian = plan(tmp_path, comparison, tasks=[{"name": "text", "kind": "causal-lm"}]).comparisons
    spec = catalan.search.spec
    assert catalan.search is italian.search and [one.name for one in spec.objectives] == ["text/ca", "text/it"]
    assert not any(role.startswith("task") for role, _ in catalan.search.inputs)
    assert {key for weights in searched(catalan) for key in weights} >= {"en", "es"}


def test_a_joint_search_does_not_weigh_adapters_of_prompted_tasks(tmp_path):
    comparison = {"kind": "joint", "targets": ["ca", "it"], "tasks": ["copy"]}
    with pytest.raises(InputError, match="weighs language adapters alone"):
        plan(tmp_path, comparison)
