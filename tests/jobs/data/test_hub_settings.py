"""What pandas, datasets and YAML would decide unsaid about the files of a data set."""

from __future__ import annotations

import os

import pytest
from data_files import json_lines, write
from tiny_tasks import INFERENCE

from jobs.data.hub_source import hub_table
from jobs.data.load import load_records, load_tagged, load_text
from jobs.errors import InputError
from jobs.spec import DataRef, RowFilter

HEAD = ("premise", "hypothesis", "label")


def ref(folder, revision="sha256:0", **changes):
    return DataRef("hub", "gl", revision, folder.name, files=(("directory", str(folder)),), **changes)


def table(folder, separator, rows):
    folder.mkdir()
    kind = {",": "csv", "\t": "tsv"}[separator]
    write(folder / f"train.{kind}", "".join(separator.join(row) + "\n" for row in (HEAD, *rows)))
    return folder


def pairs(folder, tmp_path, **changes):
    found = load_records(ref(folder, **changes), "train", INFERENCE, tmp_path / "cache")
    return [(row["premise"], row["hypothesis"], row["label"]) for row in found]


@pytest.mark.parametrize("separator", [",", "\t"])
@pytest.mark.parametrize("limits", [(), (("train", 9),)], ids=["whole", "streamed"])
def test_words_that_pandas_takes_for_missing_values_are_texts(tmp_path, separator, limits):
    rows = [("how many", "None", "yes"), ("NA", "a grade", "no"), ("null", "nan", "yes"), ("x", "n/a", "no")]
    assert pairs(table(tmp_path / "set", separator, rows), tmp_path, limits=limits) == rows


def test_an_empty_field_is_missing(tmp_path):
    folder = table(tmp_path / "set", ",", [("a", "", "yes"), ("b", "c", "no")])
    with pytest.raises(InputError, match="row 0: no hypothesis"):
        pairs(folder, tmp_path)


@pytest.mark.parametrize("limits", [(), (("train", 9),)], ids=["whole", "streamed"])
def test_digits_of_a_table_are_the_texts_that_stand_there(tmp_path, limits):
    """pandas would make 7 of 007, and 7.0 of 7 in a column with an empty field."""
    (tmp_path / "set").mkdir()
    lines = ["text,code,count,empty", "12,007,7,", "0.50,1e3,,", "True,-0,7,"]
    write(tmp_path / "set" / "train.csv", "\n".join(lines) + "\n")
    data = ref(tmp_path / "set", limits=limits)
    found = [dict(row) for row in hub_table(data, "train", tmp_path / "cache")]
    assert found == [
        {"text": "12", "code": "007", "count": "7", "empty": None},
        {"text": "0.50", "code": "1e3", "count": None, "empty": None},
        {"text": "True", "code": "-0", "count": "7", "empty": None},
    ]
    assert list(load_text(data, "train", tmp_path)) == ["12", "0.50", "True"]


def test_numbered_labels_of_a_table_are_numbers_and_a_card_s_types_are_kept(tmp_path):
    folder = table(tmp_path / "set", ",", [("1", "02", "0"), ("3", "04", "1")])
    assert pairs(folder, tmp_path, label_names=("yes", "no")) == [("1", "02", "yes"), ("3", "04", "no")]
    features = "dataset_info:\n  features:\n" + "".join(
        f"  - {{name: {name}, dtype: {kind}}}\n" for name, kind in zip(HEAD, ("string", "string", "int64"), strict=True)
    )
    write(folder / "README.md", f"---\n{features}---\n")
    typed = hub_table(ref(folder, revision="sha256:1"), "train", tmp_path / "cache")
    assert typed[1] == {"premise": "3", "hypothesis": "04", "label": 1}


def test_a_language_called_nan_is_chosen_by_its_rows(tmp_path):
    (tmp_path / "set").mkdir()
    write(tmp_path / "set" / "train.csv", "lang,text\nnan,a\neng,b\nnan,c\n")
    data = ref(tmp_path / "set", rows=RowFilter("lang", value="nan"))
    assert list(load_text(data, "train", tmp_path)) == ["a", "c"]


def test_quotation_marks_of_a_tsv_are_texts_where_they_cannot_be_quotes(tmp_path):
    rows = [('a "b" c', "d", "yes"), ('"it rains', "e", "yes"), ("f", "g", "no"), ('he said so"', "h", "yes")]
    assert pairs(table(tmp_path / "set", "\t", rows), tmp_path) == rows


def test_quoted_fields_of_a_tsv_are_unquoted(tmp_path):
    quoted = [('"he said ""so"""', '"two\nlines"', "yes"), ('"a\tb"', "c", "no")]
    plain = [('he said "so"', "two\nlines", "yes"), ("a\tb", "c", "no")]
    assert pairs(table(tmp_path / "set", "\t", quoted), tmp_path) == plain


def card(folder, text):
    (folder / "no").mkdir(parents=True)
    json_lines(folder / "no" / "train.jsonl", [{"text": "ja"}])
    write(folder / "README.md", text)
    return folder


def named(name):
    files = "  data_files:\n  - split: train\n    path: no/train.jsonl\n"
    return f"---\nlicense: mit\nconfigs:\n- config_name: {name}\n{files}---\n# Card\n"


def test_a_configuration_called_no_must_be_quoted_in_a_card_and_is_told_so(tmp_path):
    folder = card(tmp_path / "set", named("no"))
    with pytest.raises(
        InputError, match=r'README\.md:4: config_name: YAML takes no for false; write "no" in quotation marks'
    ):
        load_text(ref(folder, subset="no"), "train", tmp_path)
    write(folder / "README.md", named('"no"'))
    assert list(load_text(ref(folder, "sha256:1", subset="no"), "train", tmp_path)) == ["ja"]


def test_a_card_that_is_no_yaml_is_named_with_the_line(tmp_path):
    folder = card(tmp_path / "set", "---\nlicense: [mit\n---\n")
    with pytest.raises(InputError, match=r"README\.md:[23]: not valid YAML"):
        load_text(ref(folder, directory="no"), "train", tmp_path)


def test_a_snapshot_of_the_hub_s_cache_is_read_through_its_links(tmp_path):
    (tmp_path / "hub" / "blobs").mkdir(parents=True)
    json_lines(tmp_path / "hub" / "blobs" / "0a1b", [{"text": "linked"}])
    folder = tmp_path / "hub" / "snapshots" / "c0ffee" / "gl"
    folder.mkdir(parents=True)
    (folder / "train.jsonl").symlink_to("../../../blobs/0a1b")
    assert list(load_text(ref(folder.parent, directory="gl"), "train", tmp_path)) == ["linked"]


def test_what_lies_behind_a_linked_folder_is_no_part_of_the_revision_and_is_refused(tmp_path):
    (tmp_path / "elsewhere").mkdir()
    json_lines(tmp_path / "elsewhere" / "train.jsonl", [{"text": "x"}])
    (tmp_path / "set").mkdir()
    (tmp_path / "set" / "gl").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(InputError, match=r"outside its data set|cannot be loaded|cannot be read"):
        load_text(ref(tmp_path / "set", directory="gl"), "train", tmp_path)


@pytest.mark.parametrize("names", [("en.train.jsonl", "gl.train.jsonl"), ("train.en.jsonl", "train.gl.jsonl")])
def test_files_of_languages_in_one_folder_are_never_joined_in_silence(tmp_path, names):
    (tmp_path / "set").mkdir()
    for name in names:
        json_lines(tmp_path / "set" / name, [{"text": name}])
    with pytest.raises(InputError, match=f"files of the train split have several names.*{names[0]}, {names[1]}"):
        load_text(ref(tmp_path / "set"), "train", tmp_path)
    assert len(load_text(ref(tmp_path / "set", subset="default"), "train", tmp_path)) == 2


@pytest.mark.parametrize("name", ["train-0000{}-of-00002.jsonl", "train-0000{}-of-00002-a09b74b3ef9c3b56.jsonl"])
def test_numbered_parts_of_one_table_are_joined(tmp_path, name):
    (tmp_path / "set").mkdir()
    for number in range(2):
        json_lines(tmp_path / "set" / name.format(number), [{"text": str(number)}])
    assert list(load_text(ref(tmp_path / "set"), "train", tmp_path)) == ["0", "1"]


def test_other_bytes_of_the_same_size_and_time_are_read_anew(tmp_path):
    (tmp_path / "set").mkdir()
    for revision, tag in (("sha256:0", "B-LOC"), ("sha256:1", "B-PER")):
        path = json_lines(tmp_path / "set" / "train.jsonl", [{"tokens": ["Roma"], "ner_tags": [tag]}])
        os.utime(path, (1, 1))
        (found,) = load_tagged(ref(tmp_path / "set", revision), "train", tmp_path / "cache")
        assert found.tags == (tag,)


def test_a_fault_of_the_library_is_no_traceback(tmp_path):
    (tmp_path / "set").mkdir()
    write(tmp_path / "set" / "README.md", "---\nconfigs: 3\n---\n")
    json_lines(tmp_path / "set" / "train.jsonl", [{"text": "x"}])
    with pytest.raises(InputError, match="cannot be loaded|cannot be read"):
        hub_table(ref(tmp_path / "set"), "train", tmp_path)
