"""What is said of texts that never ended."""

from orchestrator.cli.run import unfinished_generation_notes
from orchestrator.store.record import Record


def record(task, details):
    payload = {"spec": {"task": {"name": task}}}
    return Record("evaluation/x", "evaluation", "x", "f", payload, {}, {}, {}, {}, details, {})


def test_texts_that_reached_the_length_cap_are_summed_for_each_task():
    written = [
        record("maths", {"unfinished": 10, "examples": 40, "max_new_tokens": 8}),
        record("maths", {"unfinished": 2, "examples": 40, "max_new_tokens": 8}),
        record("sums", {"unfinished": 0, "examples": 40, "max_new_tokens": 64}),
        record("inference", {"examples": 40}),
    ]
    (note,) = unfinished_generation_notes(written)
    assert note.startswith("maths: 12 of 80 texts reached 8 new tokens without ending")
