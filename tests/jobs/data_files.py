"""Small data files for tests, and where the real ones are."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from jobs.data.sentences import Sentence
from jobs.spec import DataRef

SENTENCES = [
    Sentence(("Ana", "vive", "en", "Vigo", "."), ("B-PER", "O", "O", "B-LOC", "O")),
    Sentence(("东", "京"), ("B-LOC", "I-LOC")),
    Sentence(("#", "1"), ("O", "O")),
]


def data_folder():
    folder = Path(os.environ.get("ADAPTERFLEET_TEST_DATA", Path(__file__).parents[2].parent / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip("the folder of real data is absent (ADAPTERFLEET_TEST_DATA)")
    return folder


def write(path, text):
    path.write_text(text, encoding="utf-8")
    return path


def json_lines(path, rows):
    return write(path, "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))


def ref(source, path, split="train", **changes):
    return DataRef(source, "gl", "sha256:0", files=((split, str(path)),), **changes)


def row(sentence, tags="ner_tags"):
    return {"tokens": list(sentence.tokens), tags: list(sentence.tags)}
