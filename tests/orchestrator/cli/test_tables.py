import io
import time

from rich.console import Console

from orchestrator.cli.tables import choices_table, explanation_table, plan_table, status_table, steps_table
from orchestrator.scheduling.cost import cost_model
from orchestrator.store.artifacts import ArtifactStore, take_inventory
from orchestrator.store.explain import explain
from tests.orchestrator.campaign_files import planned, write_data
from tests.orchestrator.toy_steps import STEPS, A, commit


def text(table):
    out = io.StringIO()
    Console(file=out, width=200).print(table)
    return out.getvalue()


def row(table, first):
    cells = next(line for line in text(table).splitlines() if first in line)
    return [cell.strip() for cell in cells.replace("│", "|").split("|") if cell.strip()]


def test_the_plan_counts_reused_and_new_steps_per_job(tmp_path):
    plan = planned(tmp_path)
    store = ArtifactStore(tmp_path / "ws")
    commit(store, next(s for s in plan.steps if s.job == "language-adapter"))
    table = plan_table(plan, take_inventory(plan.steps, store).records, cost_model(store.records()))
    assert row(table, "language-adapter") == ["language-adapter", "8", "1", "7", "14", "10 optimizer steps"]
    assert row(table, "task-adapter")[:4] == ["task-adapter", "2", "0", "2"]
    assert row(table, "all")[:4] == ["all", str(len(plan.steps)), "1", str(len(plan.steps) - 1)]
    assert row(table, "task-adapter")[4] == "unknown" == row(table, "all")[4]


def test_the_plan_says_how_long_each_task_is_trained(tmp_path):
    own = {"task_adapter.training": {"epochs": 3}, "tasks.0.training": {"epochs": 100}}
    plan = planned(tmp_path, own)
    table = plan_table(plan, (), cost_model(()))
    assert row(table, "task-adapter")[5] == "100 epochs"
    del own["tasks.0.training"]
    table = plan_table(planned(tmp_path, own), (), cost_model(()))
    assert row(table, "task-adapter")[5] == "3 epochs"


def test_every_step_can_be_listed(tmp_path):
    store = ArtifactStore(tmp_path / "ws")
    commit(store, A)
    lines = text(steps_table(STEPS, take_inventory(STEPS, store).records, cost_model(()))).splitlines()
    assert len(lines) == 1 + len(STEPS)
    assert next(line for line in lines if A.key in line).split()[1] == "reused"


def test_a_difference_is_a_row(tmp_path):
    store = ArtifactStore(tmp_path / "ws")
    old, new = (
        next(s for s in planned(tmp_path, {"language_adapter.training.batch_size": n}).steps if s.name == "es-s1")
        for n in (8, 9)
    )
    commit(store, old)
    assert "spec.training.batch_size" in text(explanation_table(explain(new, store.records())))


STATUS = {
    "outcome": "running",
    "updated": time.time(),
    "total": 9,
    "counts": {"reused": 2, "running": 1, "failed": 1},
    "running": {"language-adapter/gl-s42-0123456789ab": {"optimizer_step": 40.0, "loss": 3.14159}},
    "errors": {"language-adapter/es-s42-0123456789ab": "no [corpus] here"},
}


def test_a_status_tells_counts_progress_and_errors():
    said = text(status_table(STATUS, alive=True))
    for part in ("2 of 9", "language-adapter gl-s42", "optimizer step 40", "loss 3.142", "no [corpus] here"):
        assert part in said


def test_a_run_that_was_killed_is_called_so():
    said = text(status_table(STATUS, alive=False))
    assert "killed: run it again to go on" in said and "gl-s42" not in said
    assert "killed" not in text(status_table({**STATUS, "outcome": "finished"}, alive=False))


def test_the_plan_says_which_languages_are_related_and_by_what(tmp_path):
    related = {"by": ["inventory", "geographic+genetic"], "top": 2, "pool": ["es", "pt"]}
    made = planned(tmp_path, {"comparisons.0.related": related, "comparisons.1.related": {"of": {"es": ["pt"]}}})
    table = choices_table(made.comparisons, None)
    assert row(table, "pt")[:3] == ["zero-shot", "gl", "pt"]
    assert row(table, "pt")[3].endswith(" inventory")
    assert row(table, "enhancement")[:3] == ["enhancement", "es", "pt"]  # the distance of a stated one is told too
    assert "related languages; 2 more with --all" in text(choices_table(made.comparisons, 1))
    norwegian = {"name": "nn", "kind": "zero-shot", "targets": ["nn"], "tasks": ["text"], "related": {"by": "genetic"}}
    write_data(tmp_path, ("nn",))
    told = row(choices_table(planned(tmp_path, {"comparisons": [norwegian]}).comparisons, None), "nn")
    assert told[2] == "fr" and told[3].endswith(
        " geographic (nn has no distance to any language of the pool by genetic; chosen by mixed)"
    )


def test_a_plan_that_asks_for_no_related_language_has_no_such_table():
    assert choices_table((), 40) is None
