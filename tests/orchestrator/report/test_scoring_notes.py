"""What is said of texts that never ended, and of choices that tie."""

from orchestrator.report.scoring_notes import scoring_notes
from orchestrator.store.record import Record


def record(task, details, job="evaluation"):
    payload = {"spec": {"task": {"name": task}}}
    return Record(f"{job}/x", job, "x", "f", payload, {}, {}, {}, {}, details, {})


def test_texts_that_reached_the_length_cap_are_summed_for_each_task():
    written = [
        record("maths", {"unfinished": 10, "examples": 40, "max_new_tokens": 8}),
        record("maths", {"unfinished": 2, "examples": 40, "max_new_tokens": 8}),
        record("sums", {"unfinished": 0, "examples": 40, "max_new_tokens": 64}),
        record("inference", {"examples": 40}),
    ]
    (note,) = scoring_notes(written)
    assert note.startswith("maths: 12 of 80 texts reached 8 new tokens without ending")


def test_choices_that_tie_are_summed_for_each_task_and_other_jobs_say_nothing():
    written = [
        record("nli", {"ties": 3, "examples": 40}),
        record("nli", {"ties": 2, "examples": 40}),
        record("copa", {"ties": 0, "examples": 40}),
        Record("merge/x", "merge", "x", "f", {"spec": {}}, {}, {}, {}, {}, {"ties": 9, "examples": 9}, {}),
    ]
    (note,) = scoring_notes(written)
    assert note.startswith("nli: in 5 of 80 scored examples the likeliest choices tie exactly")
