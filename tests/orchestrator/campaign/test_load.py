import json
from pathlib import Path

import jsonschema
import pytest
import yaml

from jobs.errors import InputError
from orchestrator.campaign.load import json_schema, load_campaign
from orchestrator.plan.pinned_references import References
from orchestrator.plan.plan import plan_campaign
from tests.orchestrator.campaign_files import changed, planned, write_data, write_file

ROOT = Path(__file__).parents[3]
READY = sorted((ROOT / "campaigns").glob("*.yaml"))


@pytest.fixture
def faults(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    def faults(changes, overrides=None):
        with pytest.raises(InputError) as caught:
            load_campaign(write_file(tmp_path, changes), overrides)
        return list(map(str, caught.value.faults))

    return faults


def line_of(folder, text):
    lines = (folder / "campaign.yaml").read_text().splitlines()
    return next(number for number, line in enumerate(lines, 1) if text in line)


def test_the_toy_campaign_loads(tmp_path):
    campaign = load_campaign(write_file(tmp_path))
    assert campaign.corpora.files == f"{tmp_path}/data/{{language}}-{{split}}.jsonl"


def test_an_unknown_key_has_its_place_and_a_suggestion(faults, tmp_path):
    (said,) = faults({"language_adapter.training.optimiser_steps": 3})
    line = line_of(tmp_path, "optimiser_steps")
    place = f"campaign.yaml:{line}: language_adapter.training.optimiser_steps"
    assert said == f'{place}: unknown key; did you mean "optimizer_steps"?'


def test_a_typo_inside_a_list_is_suggested_from_that_section(faults):
    (said,) = faults({"comparisons.0.relatd": {"top": 2}})
    assert 'comparisons[0].relatd: unknown key; did you mean "related"?' in said
    (said,) = faults({"tasks.0.data.text_colum": "t"})
    assert 'tasks[0].data.text_colum: unknown key; did you mean "text_column"?' in said
    (said,) = faults({"corpora.splits": {"trian": "x"}})
    assert "corpora.splits.trian: it should be 'train', 'validation' or 'test'" in said


def test_dropout_of_a_backbone_under_lora_is_refused(faults):
    lora = {"rank": 2, "target_modules": ["q"]}
    training = {"optimizer_steps": 3, "backbone_dropout": 0.1}
    said = faults({"language_adapter": {"lora": lora, "training": training}})
    assert any(
        "language_adapter.training.backbone_dropout: backbone_dropout is for bottleneck adapters" in s for s in said
    )


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"search.parts": ["lower", "bottom"]}, "search.parts[1]: no such part"),
        ({"search.parts": ["lower", "lower"]}, "search.parts[1]: the name is given twice"),
        ({"search.parts": ["lower", "attention"]}, "search.parts: parts overlap (got lower and attention)"),
        ({"search.parts": ["layers 0-3", "layers 3-5"]}, "parts overlap (got layers 0-3 and layers 3-5)"),
        ({"search": {"parts": ["lower"], "folds": 5}}, "search.parts: folds choose one lambda"),
        (
            {"search": {"parts": ["lower"], "strategy": "tpe", "evaluations": 9}},
            "from the best single lambda on (got tpe)",
        ),
        (
            {"search": {"parts": ["lower"], "space": {"kind": "simplex", "step": 0.5}}},
            "weights of several languages are not searched by part (got simplex)",
        ),
        ({"search.parts": ["lower"], "comparisons.0.kind": "joint"}, "a joint comparison has no weights by part"),
    ],
)
def test_parts_that_cannot_be_searched_are_refused(faults, changes, message):
    assert any(message in said for said in faults(changes)), faults(changes)


def test_folds_that_cannot_choose_are_refused(faults):
    (said,) = faults({"search.folds": 1})
    assert "search.folds: one fold leaves nothing to choose on (got 1); give 2 or more, or 0 for the whole set" in said
    (said,) = faults({"search": {"folds": 5, "strategy": "halving", "evaluations": 30}})
    assert "search.folds: folds need every candidate on the whole validation set (got halving)" in said
    (said,) = faults({"search.folds": 5, "comparisons.0.kind": "joint"})
    assert "search.folds: a joint comparison chooses on the whole validation set; leave `folds` out" in said


def test_a_wrong_type_says_what_was_given(faults, tmp_path):
    (said,) = faults({"language_adapter.training.optimizer_steps": "many"})
    assert said.startswith(f"campaign.yaml:{line_of(tmp_path, 'many')}: language_adapter.training.optimizer_steps: ")
    assert "(got 'many')" in said
    (said,) = faults({"search.lambda_step": 0.7})
    assert "less than or equal to 0.5" in said


def test_wrong_kinds_of_values_are_told_in_words_of_the_file(faults):
    said = faults(
        {
            "seeds": 3,
            "description": [1],
            "languages": "en",
            "resources.cpus_per_bank": "many",
            "resources.evaluators": 1.5,
            "comparisons.0.targets": [],
            "comparisons.0.kind": "zeroshot",
            "comparisons.1.methods": ["add"],
        }
    )
    told = {line.split(": ", 1)[1] for line in said}
    assert told == {
        "seeds: a list is wanted (got 3)",
        "description: a text is wanted (got [1])",
        "languages: a mapping of keys is wanted (got 'en')",
        "resources.cpus_per_bank: a number is wanted (got 'many')",
        "resources.evaluators: a whole number is wanted (got 1.5)",
        "comparisons[0].kind: no such kind (got 'zeroshot'); did you mean \"zero-shot\"?",
        "comparisons[1].methods: unknown key; it belongs to mixture",
    }
    (said,) = faults({"comparisons.0.targets": []})
    assert said.endswith("comparisons[0].targets: at least 1 item is wanted, not 0 (got [])")


def test_all_faults_of_form_come_at_once(faults):
    said = faults(
        {"seeds": ["x"], "campaign": "Not A Name", "comparisons.1.kind": "few-shot", "colour": 1, "corpora": ...}
    )
    assert [one.split(": ")[1] for one in said] == ["campaign", "corpora", "seeds[0]", "comparisons[1].kind", "colour"]


def test_all_faults_of_sense_come_at_once(faults):
    said = faults({"comparisons.0.targets": ["pt"], "comparisons.1.targets": ["de"], "comparisons.1.tasks": ["nre"]})
    assert len(said) == 3


def test_required_keys_are_named(faults):
    said = faults({"languages": ..., "language_adapter.training": {}, "comparisons.0.targets": ...})
    assert [one.split(": ", 1)[1] for one in said] == [
        "languages: a required key is missing",
        "language_adapter.training: a length is missing: give `optimizer_steps` or `epochs` (got {})",
        "comparisons[0].targets: a required key is missing",
    ]


def test_an_empty_file_and_a_list_are_no_campaigns(tmp_path):
    file = tmp_path / "c.yaml"
    for text in ("", "[1, 2]", "words"):
        file.write_text(text)
        with pytest.raises(InputError, match="a campaign is a mapping"):
            load_campaign(file)


def test_numbers_as_keys_are_refused_without_a_crash(tmp_path):
    file = tmp_path / "c.yaml"
    file.write_text("1: x\ncampaign: toy\n")
    with pytest.raises(InputError):
        load_campaign(file)


def test_no_is_norwegian(tmp_path):
    file = write_file(tmp_path)
    file.write_text(file.read_text().replace("- fr\n", "- no\n"))
    assert load_campaign(file).languages.pool == ("en", "es", "pt", "no")


def test_an_unknown_language_is_placed_and_suggested(faults, tmp_path):
    said = faults({"comparisons.0.targets": ["galician"], "languages.pool": ["en", "es", "jp"]})
    text = "\n".join(said)
    assert f"campaign.yaml:{line_of(tmp_path, '- galician')}: comparisons[0].targets[0]: unknown language code" in text
    assert "did you mean gl" in text
    assert "languages.pool[2]: unknown language code" in text and "did you mean ja" in text


def test_a_code_with_spaces_around_is_that_code(tmp_path):
    assert load_campaign(write_file(tmp_path, {"languages.pool": ["en", " es ", "pt"]})).languages.pool[1] == "es"


def test_a_zero_shot_target_must_not_be_in_the_pool_however_it_is_spelled(faults):
    for code in ("es", "spa"):
        (said,) = faults({"comparisons.0.targets": [code]})
        assert "comparisons[0].targets[0]: a zero-shot target must not have an adapter of its own" in said


def test_an_enhancement_target_needs_an_adapter_under_the_same_code(faults):
    (said,) = faults({"comparisons.1.targets": ["de"]})
    assert "an enhancement target needs an adapter of its own (got de); add it to `languages.pool`" in said
    (said,) = faults({"comparisons.1.targets": ["spa"]})
    assert "(got spa); write it as in `languages.pool`" in said


def test_a_task_must_be_known_and_its_language_trained(faults):
    (said,) = faults({"comparisons.0.tasks": ["nerr"]})
    assert 'comparisons[0].tasks[0]: unknown task (got nerr); did you mean "ner"?' in said
    (said,) = faults({"tasks.0.language": "de"})
    assert "tasks[0].language: the task's language has no adapter (got de)" in said


def test_names_seeds_and_languages_are_given_once(faults):
    said = faults(
        {
            "seeds": [1, 1],
            "comparisons.1.name": "zero-shot",
            "languages.pool": ["en", "es", "spa"],
            "comparisons.0.targets": ["gl", "glg"],
            "comparisons.0.tasks": ["ner", "ner"],
        }
    )
    assert [one.split(": ")[1] for one in said] == [
        "comparisons[1]", "seeds[1]", "languages.pool[2]", "comparisons[0].tasks[1]", "comparisons[0].targets[1]",
    ]  # fmt: skip


def test_related_languages_come_from_the_pool(faults):
    (said,) = faults({"comparisons.0.related": {"pool": ["es", "it"]}})
    assert "comparisons[0].related.pool[1]: a pool language has no adapter (got it)" in said


def test_distances_to_choose_by_are_known_and_every_other_is_told_with_its_place(faults, tmp_path):
    load_campaign(write_file(tmp_path, {"comparisons.0.related": {"by": "geographic+genetic"}}))
    by = ["overlap", "mixed", "geographic + inventory"]
    loaded = load_campaign(write_file(tmp_path, {"comparisons.0.related": {"by": by}}))
    assert loaded.comparisons[0].related.by == tuple(by)
    (said,) = faults({"comparisons.0.related": {"by": "geografic+genetics"}})
    assert "comparisons[0].related.by: " in said and "campaign.yaml:" in said
    assert "did you mean geographic?" in said and "did you mean genetic?" in said
    said = faults({"comparisons.0.related": {"by": ["mixed", "sintactic"]}, "comparisons.1.related": {"by": []}})
    assert "comparisons[0].related.by[1]: " in said[0] and "did you mean syntactic?" in said[0] and len(said) == 2
    (said,) = faults({"comparisons.0.related": {"by": "overlap+genetic"}})
    assert "a sum of distances of languages and of texts overlap+genetic: leave one out" in said


def test_stated_related_languages_have_adapters_and_are_of_targets(faults):
    of = {"gl": ["gl", "xh", "en", "es", "es"], "ptt": ["es"], "eu": ["es"]}
    said = faults({"comparisons.0.related": {"of": of}})
    assert any("related.of.ptt" in one for one in said), said
    said = faults({"comparisons.0.related": {"of": {key: of[key] for key in ("gl", "eu")}}})
    told = "\n".join(said)
    assert (
        "a language is not related to itself (got gl)" in told and "a related language has no adapter (got xh)" in told
    )
    assert "the task's own language is in the sum already (got en)" in told and "listed twice (got es)" in told
    assert "related.of.eu: related languages of what is no target (got eu)" in told


def test_a_pool_of_the_anchor_alone_is_empty_and_every_target_says_so(tmp_path):
    with pytest.raises(InputError) as caught:
        planned(tmp_path, {"languages.pool": ["en"], "comparisons": [
            {"name": "z", "kind": "zero-shot", "targets": ["gl", "pt"], "tasks": ["ner"]},
            {"name": "text", "kind": "zero-shot", "targets": ["es"], "tasks": ["text"]},
        ]})  # fmt: skip
    said = [str(fault) for fault in caught.value.faults]
    assert [one.split(": ")[0] for one in said] == [
        "comparison z, target gl", "comparison z, target pt", "comparison text, target es",
    ]  # fmt: skip
    assert all("pool of related languages is empty" in one for one in said)


def test_revisions_are_pinned_on_the_hub_and_only_there(faults):
    (said,) = faults({"backbone": {"name": "xlm-roberta-base"}})
    assert "xlm-roberta-base needs `revision`" in said
    (said,) = faults({"backbone": {"name": "xlm-roberta-base", "revision": "main"}})
    assert "40 hex digits, not a branch" in said
    (said,) = faults({"backbone": {"revision": "a" * 40}})
    assert "leave `revision` out" in said


def test_hub_data_without_a_commit_is_refused_when_planned(tmp_path):
    hub = {"source": "hub", "dataset": "wikimedia/wikipedia", "subset": "20231101.{language}"}
    with pytest.raises(InputError, match="wikimedia/wikipedia has no pinned revision"):
        planned(tmp_path, {"corpora": hub})
    plan = planned(tmp_path, {"corpora": {**hub, "revision": "b" * 40}})
    assert next(s for s in plan.steps if s.job == "language-adapter").spec.corpus.subset == "20231101.en"


def test_variables_and_their_overrides(tmp_path, faults):
    changes = {"variables": {"root": "/a", "data": "${root}/b"}}
    assert load_campaign(write_file(tmp_path, changes)).corpora.files.startswith("/a/b/")
    assert load_campaign(write_file(tmp_path, changes), {"root": "/c"}).corpora.files.startswith("/c/b/")
    assert load_campaign(write_file(tmp_path, changes), {"data": "/d"}).corpora.files.startswith("/d/")
    (said,) = faults({}, {"dta": "x"})
    assert 'unknown variable (got dta); did you mean "data"?' in said
    (said,) = faults({"description": "${nothing}"})
    assert "description: unknown variable (got ${nothing}); variables here: data, here" in said


def test_missing_data_is_listed_for_all_languages_at_once(tmp_path):
    write_data(tmp_path, ("en", "es"))
    with pytest.raises(InputError) as caught:
        planned(tmp_path)
    text = str(caught.value)
    for wanted in ("no train file for pt", "no train file for fr", "no validation file for gl", "no test file for gl"):
        assert wanted in text
    assert "for en" not in text and "for es" not in text


def test_a_pattern_with_an_unknown_name_is_refused(tmp_path):
    with pytest.raises(InputError, match="unknown variable {lang}"):
        planned(tmp_path, {"corpora.files": "${data}/{lang}.jsonl"})


def test_too_many_best_covered_languages_are_refused_with_the_number_there_is(tmp_path):
    with pytest.raises(InputError, match="fewer languages are covered"):
        planned(tmp_path, {"languages.best_covered": 7000, "corpora": {"source": "cldr"}})


def test_best_covered_languages_must_hold_whatever_the_campaign_names(tmp_path):
    with pytest.raises(InputError) as caught:
        planned(tmp_path, {"languages": {"best_covered": 3, "leave_out": ["en", "es"]}, "corpora": {"source": "cldr"},
                           "comparisons.0.related": {"pool": ["es"]}})  # fmt: skip
    text = str(caught.value)
    assert "tasks[0].language: the task's language has no adapter (got en)" in text
    assert "targets[0]: an enhancement target needs an adapter of its own (got es)" in text
    assert "comparisons[0].related.pool[0]: a pool language has no adapter (got es)" in text


def test_the_schema_accepts_what_loads_and_refuses_a_typo():
    validator = jsonschema.Draft202012Validator(json_schema())
    assert not list(validator.iter_errors(changed({})))
    assert list(validator.iter_errors(changed({"serach": {}})))


@pytest.mark.parametrize("file", READY, ids=lambda file: file.name)
def test_the_ready_campaigns_fit_the_schema_and_name_it(file):
    text = file.read_text(encoding="utf-8")
    assert text.startswith("# yaml-language-server: $schema=../docs/campaign.schema.json\n")
    validator = jsonschema.Draft202012Validator(json_schema())
    assert not list(validator.iter_errors(yaml.safe_load(text)))
    load_campaign(file)


def test_the_schema_in_the_docs_is_the_schema():
    stored = json.loads((ROOT / "docs" / "campaign.schema.json").read_text(encoding="utf-8"))
    assert stored == json_schema(), "run `make schema`"


def test_the_quickstart_is_planned_as_it_stands(tmp_path):
    campaign = load_campaign(ROOT / "campaigns" / "quickstart.yaml")
    plan = plan_campaign(campaign, References(tmp_path))
    targets = sum(len(section.targets) * len(section.tasks) for section in campaign.comparisons)
    assert len(plan.comparisons) == targets
    assert len({step.key for step in plan.steps}) == len(plan.steps)


@pytest.mark.parametrize(
    "key",
    [
        "language_adapter.training.max_grad_norm",
        "language_adapter.training.learning_rate",
        "task_adapter.training.weight_decay",
        "search.minutes",
        "resources.cpus_per_bank",
    ],
)
@pytest.mark.parametrize("value", [float("inf"), float("nan")])
def test_numbers_that_are_none_are_faults_of_their_line(faults, tmp_path, key, value):
    (said,) = faults({key: value})
    assert said.startswith(
        f"campaign.yaml:{line_of(tmp_path, key.rpartition('.')[2])}: {key}: a finite number is wanted"
    )


def test_gradients_may_go_unclipped(tmp_path):
    campaign = load_campaign(write_file(tmp_path, {"language_adapter.training.max_grad_norm": 0}))
    assert campaign.language_adapter.training.config.max_grad_norm == 0


@pytest.mark.parametrize(("seed", "bound"), [(-1, "greater than or equal to 0"), (2**32, "less than 4294967296")])
@pytest.mark.parametrize("key", ["seeds", "search.seed", "language_adapter.init_seed", "task_adapter.init_seed"])
def test_seeds_that_no_random_numbers_come_of_are_faults_of_their_line(faults, tmp_path, key, seed, bound):
    (said,) = faults({key: [seed] if key == "seeds" else seed})
    assert said.startswith(f"campaign.yaml:{line_of(tmp_path, str(seed))}: {key}") and bound in said


def test_places_of_columns_need_no_quotation_marks(tmp_path):
    data = {"source": "conll", "files": "${data}/{language}.conll", "tokens_column": 0, "labels_column": -1}
    campaign = load_campaign(write_file(tmp_path, {"tasks.0.data": data}))
    assert (campaign.tasks[0].data.tokens_column, campaign.tasks[0].data.labels_column) == ("0", "-1")


def test_a_language_in_two_spellings_is_told_how_the_pool_writes_it(faults):
    (said,) = faults({"tasks.0.language": "eng"})
    assert "the task's language has no adapter (got eng); write it as in `languages.pool`: en" in said
    (said,) = faults({"comparisons.1.targets": ["spa"]})
    assert "write it as in `languages.pool`: es" in said
    (said,) = faults({"comparisons.0.targets": ["por_Latn"]})
    assert "a zero-shot target must not have an adapter of its own (got por_Latn)" in said
    (said,) = faults({"comparisons.1": {"name": "j", "kind": "joint", "targets": ["spa", "gl"], "tasks": ["text"]}})
    assert "targets[0]: one language in two spellings (got spa); write it as in `languages.pool`: es" in said
    said = faults({"tasks.0.sources": ["en", "eng", "gl", "glg"]})
    assert ["the language is listed twice" in one for one in said] == [True, True, False]
    assert (
        "tasks[0].sources[1]: one language in two spellings (got eng); write it as in `languages.pool`: en" in said[2]
    )
    (said,) = faults({"corpora.names": {"es": "x", "spa": "y"}})
    assert "corpora.names.spa: the language is listed twice (got spa); it is the same as es" in said
