"""Repositories without a card, tables of all languages, parts of splits, and corpora too large to fetch whole."""

from __future__ import annotations

import gzip
import json

import datasets
import pytest
from data_files import write

from jobs.data.hub_source import hub_splits, hub_table
from jobs.data.load import load_rows, load_text
from jobs.errors import InputError
from jobs.spec import DataRef, RowFilter

LABELS = ["entailment", "neutral", "contradiction"]


def parquet(path, rows, **features):
    path.parent.mkdir(parents=True, exist_ok=True)
    datasets.disable_progress_bars()
    datasets.Dataset.from_list(rows, features=datasets.Features(features) if features else None).to_parquet(path)


def ref(folder, language="hi", **changes):
    return DataRef("hub", language, "sha256:0", folder.name, files=(("directory", str(folder)),), **changes)


def texts(*names):
    return [{"text": name} for name in names]


@pytest.fixture
def without_card(tmp_path):
    """The two layouts of converted repositories: a folder for each language, no README."""
    for code in ("hindi", "arabic"):
        parquet(tmp_path / "set" / code / "train" / "0000.parquet", texts(f"{code} 0", f"{code} 1"))
        parquet(tmp_path / "set" / code / "train" / "0001.parquet", texts(f"{code} 2"))
        parquet(tmp_path / "set" / code / "test" / "0000.parquet", texts(f"{code} t"))
        parquet(tmp_path / "old" / code / "old-train.parquet", texts(f"{code} old"))
        write(tmp_path / "set" / code / "index.duckdb", "not data")
    return tmp_path / "set"


def test_a_directory_of_a_repository_without_card_is_one_language(without_card, tmp_path):
    data = ref(without_card, directory="hindi")
    assert hub_splits(data, tmp_path) == {"train": "train", "test": "test"}
    assert list(load_text(data, "train", tmp_path)) == ["hindi 0", "hindi 1", "hindi 2"]
    assert list(load_text(data, "test", tmp_path)) == ["hindi t"]
    assert list(load_text(ref(tmp_path / "old", directory="arabic"), "train", tmp_path)) == ["arabic old"]


def test_languages_are_never_joined_in_silence(without_card, tmp_path):
    with pytest.raises(InputError, match="files of the train split lie in several folders.*arabic/train, hindi/train"):
        load_text(ref(without_card), "train", tmp_path)
    assert len(load_text(ref(without_card, subset="default"), "train", tmp_path)) == 6


def test_a_directory_that_is_not_there_or_outside_is_refused(without_card, tmp_path):
    with pytest.raises(InputError, match="cannot be read"):
        load_text(ref(without_card, directory="german"), "train", tmp_path)
    parquet(tmp_path / "secret" / "train.parquet", texts("x"))
    with pytest.raises(InputError, match="outside its data set"):
        hub_table(ref(without_card, directory="../secret"), "train", tmp_path)


def test_class_labels_survive_in_a_repository_without_card(tmp_path):
    features = {"premise": datasets.Value("string"), "label": datasets.ClassLabel(names=LABELS)}
    parquet(tmp_path / "nli" / "as" / "train" / "0000.parquet", [{"premise": "p", "label": 2}] * 3, **features)
    for limits in ((), (("train", 2),)):
        table = hub_table(ref(tmp_path / "nli", directory="as", limits=limits), "train", tmp_path)
        assert table.features["label"].names == LABELS and set(table["label"]) == {2}


@pytest.fixture
def all_languages(tmp_path):
    rows = [{"id": f"{name}-{n}", "lang": name[:2], "question": f"{name} {n}?"} for n in range(4) for name in NAMES]
    parquet(tmp_path / "tydi" / "train.parquet", rows)
    return tmp_path / "tydi"


NAMES = ("swahili", "finnish", "korean")


@pytest.mark.parametrize("limits", [(), (("train", 2),)], ids=["whole", "streamed"])
def test_rows_of_one_language_are_chosen_by_prefix_or_value(all_languages, tmp_path, limits):
    kept = RowFilter("id", prefix="finnish-")
    found = [row["question"] for _, row in load_rows(ref(all_languages, rows=kept, limits=limits), "train", tmp_path)]
    assert found == ["finnish 0?", "finnish 1?", "finnish 2?", "finnish 3?"][: 2 if limits else 4]
    by_value = RowFilter("lang", value="ko")
    assert len(hub_table(ref(all_languages, rows=by_value, limits=limits), "train", tmp_path)) >= (2 if limits else 4)
    with pytest.raises(InputError, match="the train split is empty"):
        list(load_rows(ref(all_languages, rows=RowFilter("id", prefix="klingon-"), limits=limits), "train", tmp_path))
    with pytest.raises(InputError, match="no column 'language' to choose rows by.*columns: id, lang, question"):
        hub_table(ref(all_languages, rows=RowFilter("language", value="ko"), limits=limits), "train", tmp_path)


def test_validation_is_held_out_of_one_languages_rows_where_its_split_is_tested_on(tmp_path):
    rows = [{"id": f"{name}-{n}", "question": f"{name} {n}?"} for name in NAMES for n in range(8)]
    parquet(tmp_path / "tydi" / "train.parquet", rows)
    parquet(tmp_path / "tydi" / "validation.parquet", [{**row, "question": "tested"} for row in rows])
    kept = RowFilter("id", prefix="korean-")
    data = ref(tmp_path / "tydi", rows=kept, splits=(("test", "validation"),), hold_out=0.25)
    parts = {s: [row["id"] for _, row in load_rows(data, s, tmp_path)] for s in ("train", "validation", "test")}
    assert [len(part) for part in parts.values()] == [6, 2, 8]
    assert sorted(parts["train"] + parts["validation"]) == sorted(parts["test"])


def test_a_split_is_cut_in_two_in_the_order_of_its_file(tmp_path):
    parquet(tmp_path / "xquad" / "validation.parquet", texts(*map(str, range(10))))
    splits = (("test", "validation[5:]"), ("validation", "validation[:5]"))
    data = ref(tmp_path / "xquad", splits=splits)
    assert hub_splits(data, tmp_path) == dict(splits)
    assert list(load_text(data, "validation", tmp_path)) == list("01234")
    assert list(load_text(data, "test", tmp_path)) == list("56789")
    percent = ref(tmp_path / "xquad", splits=(("validation", "validation[:20%]"), ("test", "validation[-20%:]")))
    assert [list(load_text(percent, split, tmp_path)) for split in ("validation", "test")] == [["0", "1"], ["8", "9"]]


def test_splits_with_other_names_stand_beside_those_that_keep_theirs(tmp_path):
    for split in ("train", "dev", "test"):
        parquet(tmp_path / "set" / f"{split}.parquet", texts(split))
    data = ref(tmp_path / "set", splits=(("validation", "dev"),))
    assert hub_splits(data, tmp_path) == {"train": "train", "test": "test", "validation": "dev"}
    taken = ref(tmp_path / "set", splits=(("validation", "test[:1]"),))
    assert "test" not in hub_splits(taken, tmp_path)


@pytest.fixture
def huge(tmp_path):
    """Shards as mC4 has them; the second one is broken, so that reading it fails."""
    folder = tmp_path / "c4"
    folder.mkdir()
    rows = [{"text": text, "timestamp": "2019-04-25T12:57:54Z"} for text in ("a", " ", "b", "c", "", "d")]
    with gzip.open(folder / "c4-sw.tfrecord-00000.json.gz", "wt", encoding="utf-8") as file:
        file.writelines(json.dumps(row) + "\n" for row in rows)
    (folder / "c4-sw.tfrecord-00001.json.gz").write_bytes(b"never read")
    card = "---\nconfigs:\n- config_name: sw\n  data_files:\n  - split: train\n    path: c4-sw.*.json.gz\n---\n"
    write(folder / "README.md", card)
    return folder


def test_a_limit_reads_no_further_than_it_must(huge, tmp_path):
    with pytest.raises(InputError, match="cannot be loaded"):
        load_text(ref(huge, subset="sw"), "train", tmp_path)
    data = ref(huge, subset="sw", limits=(("train", 3),))
    assert list(load_text(data, "train", tmp_path)) == ["a", "b", "c"]  # blank texts do not count
    sliced = ref(huge, subset="sw", splits=(("validation", "train[:2]"), ("train", "train[2:6]")))
    assert list(load_text(sliced, "validation", tmp_path)) == ["a"]
    assert list(load_text(sliced, "train", tmp_path)) == ["b", "c", "d"]


def test_a_hold_out_sees_every_row_whatever_the_limit(huge, tmp_path):
    with pytest.raises(InputError, match="cannot be loaded"):
        load_text(ref(huge, subset="sw", hold_out=0.1, limits=(("train", 3),)), "train", tmp_path)


def test_streamed_rows_are_kept_and_are_those_of_the_whole_table(without_card, tmp_path):
    whole = ref(without_card, directory="hindi")
    limited = ref(without_card, directory="hindi", limits=(("train", 2),))
    first = hub_table(limited, "train", tmp_path)
    assert first.to_list() == hub_table(whole, "train", tmp_path).to_list()[:2]
    again = hub_table(limited, "train", tmp_path)
    assert first.cache_files and first.cache_files == again.cache_files


@pytest.mark.parametrize("name", ["set/train.parquet", "train.txt"])
def test_rows_that_parts_of_unlike_ends_share_are_found_when_they_are_read(tmp_path, name):
    path = tmp_path / name
    path.parent.mkdir(exist_ok=True)
    parquet(path, texts(*map(str, range(10)))) if path.suffix == ".parquet" else write(path, "\n".join("0123456789"))
    splits = (("train", "train[:9]"), ("validation", "train[-20%:]"), ("test", "train[9:]"))
    data = ref(path.parent, splits=splits)
    if path.suffix == ".txt":
        data = DataRef("text", "hi", "", splits=splits, files=tuple((split, str(path)) for split, _ in splits))
    with pytest.raises(InputError, match=r"validation and t\w+ have rows in common .got train.-20%:. and train"):
        load_text(data, "validation", tmp_path)
