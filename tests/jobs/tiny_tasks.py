"""Pairs, questions and choices of the tiny backbone's words, so that there is something to learn, and their calls."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np
from tiny_backbone import WORDS

from jobs.spec import DataRef, TaskRef

INFERENCE = TaskRef("inference", "classification", ("yes", "perhaps", "no"))
QUESTIONS = TaskRef("questions", "qa", stride=4)
CHOICES = TaskRef("choices", "multiple-choice")
TASKS = {task.kind: task for task in (INFERENCE, QUESTIONS, CHOICES)}
LENGTH = 24


def words(rng, count, low=60, high=WORDS):
    return [f"w{int(word)}" for word in rng.integers(low, high, size=count)]


def pair(rng):
    """Each label has words of its own, which the hypothesis is made of."""
    label = int(rng.integers(3))
    hypothesis = words(rng, int(rng.integers(2, 6)), 4 * label, 4 * label + 4)
    premise = words(rng, int(rng.integers(2, 8)))
    return {"premise": " ".join(premise), "hypothesis": " ".join(hypothesis), "label": INFERENCE.labels[label]}


def question(rng):
    """The answer is the run of words below w8; contexts are longer than a window now and then."""
    before, answer = words(rng, int(rng.integers(0, 25))), words(rng, int(rng.integers(1, 3)), 0, 8)
    context = " ".join([*before, *answer, *words(rng, int(rng.integers(1, 15)))])
    texts = [" ".join(answer), answer[0]]
    starts = [len(" ".join([*before, ""]))] * 2
    return {
        "question": " ".join(words(rng, 3)),
        "context": context,
        "answers": {"text": texts, "answer_start": starts},
    }


def choice(rng):
    """The right choice has a word below w8."""
    label = int(rng.integers(2))
    choices = [words(rng, int(rng.integers(1, 4))) for _ in range(2)]
    choices[label] += words(rng, 1, 0, 8)
    return {
        "premise": " ".join(words(rng, 4)),
        "choice1": " ".join(choices[0]),
        "choice2": " ".join(choices[1]),
        "question": ("cause", "effect")[int(rng.integers(2))],
        "label": label,
    }


_ROWS = {"classification": pair, "qa": question, "multiple-choice": choice}


def write_rows(
    directory: Path, kind: str, counts=(("train", 240), ("validation", 40), ("test", 40)), seed=3
) -> DataRef:
    """JSON lines of one kind, always the same ones."""
    directory.mkdir(parents=True, exist_ok=True)
    rng, files = np.random.default_rng(seed), []
    for split, count in counts:
        path = directory / f"{kind}-{split}.jsonl"
        path.write_text("\n".join(json.dumps(_ROWS[kind](rng)) for _ in range(count)), encoding="utf-8")
        files.append((split, str(path)))
    digest = hashlib.sha256(b"".join(Path(path).read_bytes() for _, path in files)).hexdigest()
    return DataRef("json", "xx", f"sha256:{digest}", files=tuple(files))
