"""Where data come from, as a campaign says it: names of languages, parts of splits, test data of another data set."""

import pytest

from jobs.errors import InputError
from jobs.spec import EvaluationSpec, RowFilter, SearchSpec, TaskAdapterSpec
from tests.orchestrator.campaign_files import planned

COMMIT = "a" * 40
XLSUM = {"source": "hub", "dataset": "x/y", "revision": COMMIT, "directory": "{name}", "names": {"es": "spanish"}}


def specs(plan, kind):
    return [step.spec for step in plan.steps if isinstance(step.spec, kind)]


def test_names_of_languages_stand_for_codes(tmp_path):
    plan = planned(tmp_path, {"corpora": XLSUM})
    found = {s.spec.language: s.spec.corpus.directory for s in plan.steps if s.job == "language-adapter"}
    assert found == {"en": "en", "es": "spanish", "pt": "pt", "fr": "fr"}


def test_names_need_not_change_identity(tmp_path):
    before, after = ({s.fingerprint for s in planned(tmp_path, c).steps} for c in ({}, {"corpora.names": {"es": "x"}}))
    assert before == after


def test_rows_are_chosen_by_a_languages_name(tmp_path):
    data = {"source": "hub", "dataset": "x/tydi", "revision": COMMIT, "names": {"gl": "galician"}}
    plan = planned(tmp_path, {"tasks.0.data": {**data, "rows": {"column": "id", "prefix": "{name}-"}}})
    (search,) = [s for s in specs(plan, SearchSpec) if s.target == "gl" and s.task.kind == "ner"]
    assert search.data.rows == RowFilter("id", prefix="galician-")


def test_targets_may_be_scored_on_another_data_set_than_the_task_is_trained_on(tmp_path):
    other = {
        "source": "hub", "dataset": "x/xquad", "subset": "xquad.{language}", "revision": COMMIT,
        "splits": {"validation": "validation[:595]", "test": "validation[595:]"},
    }  # fmt: skip
    plan = planned(tmp_path, {"tasks.0.evaluation_data": other})
    assert {s.data.source for s in specs(plan, TaskAdapterSpec)} == {"json"}
    scored = [s for s in (*specs(plan, SearchSpec), *specs(plan, EvaluationSpec)) if s.task.kind == "ner"]
    assert {s.data.subset for s in scored} == {"xquad.gl", "xquad.es"}
    assert {dict(s.data.splits)["test"] for s in scored} == {"validation[595:]"}


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"corpora": {**XLSUM, "rows": {"column": "id"}}}, "either `prefix` or `value`"),
        ({"corpora": {**XLSUM, "directory": "../other"}}, "lies inside the repository"),
        ({"corpora": {**XLSUM, "names": {"espagnol": "x"}}}, "unknown language"),
        ({"corpora.directory": "x"}, "belong to source hub"),
        ({"corpora": {**XLSUM, "splits": {"validation": "dev[:6]", "test": "dev[5:]"}}}, "rows in common"),
        ({"corpora": {**XLSUM, "splits": {"test": "dev[5"}}}, "not a split"),
        ({"tasks.1.evaluation_data": XLSUM}, "scored on the corpora"),
    ],
)
def test_faults_of_data_sections_are_told(tmp_path, changes, words):
    with pytest.raises(InputError, match=words):
        planned(tmp_path, changes)


def test_names_and_data_elsewhere_are_found_in_any_spelling(tmp_path):
    plan = planned(tmp_path, {"corpora": {**XLSUM, "names": {"spa_Latn": "spanish"}}})
    assert {s.spec.language: s.spec.corpus.directory for s in plan.steps if s.job == "language-adapter"}[
        "es"
    ] == "spanish"
    other = {"por": {"source": "hub", "dataset": "x/{language}", "revision": COMMIT}}
    plan = planned(tmp_path, {"corpora.elsewhere": other})
    assert {s.spec.language: s.spec.corpus.dataset for s in plan.steps if s.job == "language-adapter"}["pt"] == "x/pt"


@pytest.mark.parametrize(
    ("data", "key"),
    [
        ({"source": "json", "files": "${data}/ner-en-{split}.jsonl"}, "`files`"),
        ({"source": "hub", "dataset": "x/y", "revision": COMMIT}, "`rows`"),
        (
            {"source": "hub", "dataset": "x/y", "revision": COMMIT, "directory": "{name}", "names": {"gl": "en"}},
            "`rows`",
        ),
    ],
)
def test_two_languages_with_the_same_data_are_a_fault(tmp_path, data, key):
    with pytest.raises(InputError) as caught:
        planned(tmp_path, {"tasks.0.data": data, "comparisons.1": ..., "comparisons.0.tasks": ["ner"]})
    (said,) = {str(fault) for fault in caught.value.faults}
    assert said.startswith("ner of gl: the same data as en (got ") and "{language}, {iso639_3} or {name} into" in said
    assert key in said


def test_forms_of_a_language_with_one_individual_code_share_its_data_and_are_told(tmp_path):
    changes = {"corpora.files": "${data}/{iso639_3}.txt", "corpora.source": "text", "corpora.hold_out": 0.2}
    with pytest.raises(InputError, match="corpus of zh_Hant: the same data as zh_Hans"):
        planned(tmp_path, {**changes, "languages.pool": ["en", "es", "pt", "fr", "zh_Hans", "zh_Hant"]})


def test_training_and_validation_out_of_one_file_share_no_rows(tmp_path):
    with pytest.raises(InputError, match=r"corpus of en: train and validation would have rows in common \(got train, "):
        planned(tmp_path, {"corpora.splits": {"validation": "train[-10%:]"}})
