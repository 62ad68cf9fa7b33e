import pytest

from jobs.errors import InputError
from orchestrator.cli.tables import explanation_table
from orchestrator.store.artifacts import ArtifactStore
from orchestrator.store.explain import Difference, explain, find_step
from tests.orchestrator.campaign_files import planned
from tests.orchestrator.toy_steps import STEPS, A, commit, language


def shown(explanation):
    table = explanation_table(explanation)
    return table if isinstance(table, str) else str(table.title)


@pytest.fixture
def store(tmp_path):
    return ArtifactStore(tmp_path / "ws")


def test_a_step_never_seen_has_nothing_to_compare(store):
    found = explain(A, store.records())
    assert found.record is None and "is new: no finished step" in shown(found)


def test_a_finished_step_is_the_same(store):
    commit(store, A)
    found = explain(A, store.records())
    assert found.differences == () and "is reused" in shown(found)


def test_a_changed_setting_is_named_with_both_values(tmp_path, store):
    before = planned(tmp_path)
    after = planned(tmp_path, {"language_adapter.training.optimizer_steps": 20})
    old, new = (next(s for s in plan.steps if s.name == "es-s1") for plan in (before, after))
    commit(store, old)
    found = explain(new, store.records())
    assert found.differences == (Difference("spec.training.optimizer_steps", 10, 20),)
    assert "es-s1" in shown(found)


def test_a_field_that_left_its_default_was_absent_before(tmp_path, store):
    old = next(s for s in planned(tmp_path).steps if s.name == "es-s1")
    new = next(s for s in planned(tmp_path, {"language_adapter.training.patience": 3}).steps if s.name == "es-s1")
    commit(store, old)
    assert explain(new, store.records()).differences == (Difference("spec.training.patience", None, 3),)


def test_the_nearest_of_several_records_is_taken(tmp_path, store):
    steps = {
        steps_: next(
            s
            for s in planned(
                tmp_path,
                {"language_adapter.training.optimizer_steps": steps_, "language_adapter.training.batch_size": size},
            ).steps
            if s.name == "es-s1"
        )
        for steps_, size in ((10, 16), (20, 32), (30, 16))
    }
    commit(store, steps[20])
    commit(store, steps[10])
    found = explain(steps[30], store.records())
    assert found.record.key == steps[10].key and len(found.differences) == 1


def test_a_changed_input_shows_as_that_input(tmp_path, store):
    old, new = (
        next(s for s in planned(tmp_path, {"language_adapter.init_seed": seed}).steps if s.name == "es-s1")
        for seed in (1, 2)
    )
    commit(store, old)
    paths = [difference.path for difference in explain(new, store.records()).differences]
    assert paths == ["inputs.theta_pre", "spec.adapter.init_seed"]


def test_steps_are_found_by_key_name_or_beginning():
    assert find_step(STEPS, A.key) is A
    assert find_step(STEPS, "language-adapter/a-s1") is A
    assert find_step(STEPS, "a-s1") is A
    assert find_step(STEPS, A.key[:-3]) is A


def test_a_name_of_none_is_refused_with_suggestions():
    with pytest.raises(InputError, match=r"no step has that name.*language-adapter/b-s1"):
        find_step(STEPS, "bb-s1")
    with pytest.raises(InputError, match="adapterfleet plan --all"):
        find_step((), "x")


def test_a_name_of_several_is_refused_with_all_of_them():
    with pytest.raises(InputError, match=r"several steps.*language-adapter/a-s1.*language-adapter/b-s1"):
        find_step(STEPS, "language-adapter/")


def test_suggestions_in_a_very_large_plan_come_from_names_that_begin_alike():
    steps = [language(f"l{number}") for number in range(2500)] + [language("glg")]
    with pytest.raises(InputError, match="language-adapter/glg-s1"):
        find_step(steps, "glh-s1")
