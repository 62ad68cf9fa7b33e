"""What is said of texts that never ended, of choices that tie, and of scores that were not computed alike."""

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


def test_scores_of_a_task_that_two_devices_computed_are_told_and_those_of_a_training_are_not():
    def made(task, precision, device, job="evaluation"):
        return record(task, {"examples": 9, "precision": precision, "machine": {"device": device}}, job)

    alike = [made("ner", "float32", "cpu"), made("maths", "bfloat16", "cuda"), record("old", {"examples": 9})]
    trained = [made("ner", "bfloat16", "cuda", "task-adapter")]
    assert scoring_notes([*alike, *trained]) == []
    (note,) = scoring_notes([*alike, made("maths", "float32", "cpu"), made("maths", "float32", "cpu")])
    assert note.startswith("maths: scores were computed in bfloat16 on cuda (1) and float32 on cpu (2): ")
