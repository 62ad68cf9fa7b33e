"""Every source gives the same texts and sentences; every fault of a file is named with its row."""

from __future__ import annotations

import bz2
import gzip
import json
import lzma
from itertools import chain
from pathlib import Path

import datasets
import pytest
from data_files import SENTENCES, data_folder, json_lines, ref, row, write
from hypothesis import given
from hypothesis import strategies as st
from seqeval.metrics.sequence_labeling import get_entities

from jobs.data.load import cut, example_hash, load_tagged, load_text
from jobs.data.sentences import Sentence
from jobs.errors import InputError
from jobs.spec import DataRef

LABELS = ("O", "B-PER", "I-PER", "B-LOC", "I-LOC")


def faults(call, *arguments):
    with pytest.raises(InputError) as caught:
        call(*arguments)
    return list(map(str, caught.value.faults))


# Every source, the same sentences.


def test_json_lines_and_a_json_array_give_the_same_sentences(tmp_path):
    lines = json_lines(tmp_path / "a.jsonl", map(row, SENTENCES))
    array = write(tmp_path / "a.json", json.dumps(list(map(row, SENTENCES)), indent=1))
    for path in (lines, array):
        assert list(load_tagged(ref("json", path), "train", tmp_path)) == SENTENCES


def test_other_column_names_and_numbered_labels_are_read(tmp_path):
    rows = [{"w": list(s.tokens), "t": [LABELS.index(tag) for tag in s.tags], "extra": 1} for s in SENTENCES]
    data = ref("json", json_lines(tmp_path / "a.jsonl", rows), tokens_column="w", labels_column="t", label_names=LABELS)
    assert list(load_tagged(data, "train", tmp_path)) == SENTENCES


@pytest.mark.parametrize("separator", ["\t", " "])
def test_conll_reads_the_first_and_the_last_column(tmp_path, separator):
    text = "-DOCSTART- -X- O\n\n# sent_id = 1\n" + "\n".join(
        "".join(f"{separator.join((t, 'NN', g))}\n" for t, g in zip(s.tokens, s.tags, strict=True)) for s in SENTENCES
    )
    assert list(load_tagged(ref("conll", write(tmp_path / "a.conll", text)), "train", tmp_path)) == SENTENCES


def test_conll_columns_can_be_named_by_place(tmp_path):
    text = "1\tVigo\tB-LOC\tx\ty\r\n2\tnova\tI-LOC\tx\ty\r\n"
    data = ref("conll", write(tmp_path / "a.iob2", text), tokens_column="1", labels_column="2")
    assert load_tagged(data, "train", tmp_path) == [Sentence(("Vigo", "nova"), ("B-LOC", "I-LOC"))]
    wrong = ref("conll", tmp_path / "a.iob2", tokens_column="word")
    assert "0 is the first" in faults(load_tagged, wrong, "train", tmp_path)[0]


def hub_layout(folder):
    """Two configurations in parquet files, declared by the card, with class labels."""
    features = datasets.Features(
        {
            "tokens": datasets.List(datasets.Value("string")),
            "ner_tags": datasets.List(datasets.ClassLabel(names=list(LABELS))),
            "text": datasets.Value("string"),
        }
    )
    rows = [{**row(s), "text": " ".join(s.tokens)} for s in SENTENCES]
    for name in ("train", "dev"):
        (folder / "gl").mkdir(parents=True, exist_ok=True)
        datasets.Dataset.from_list(rows, features=features).to_parquet(folder / "gl" / f"{name}.parquet")
    card = "---\nconfigs:\n- config_name: gl\n  data_files:\n  - split: train\n    path: gl/train.parquet\n"
    write(folder / "README.md", card + "  - split: dev\n    path: gl/dev.parquet\n---\n")
    return DataRef("hub", "gl", "sha256:0", folder.name, "gl", files=(("directory", str(folder)),))


def test_a_directory_in_the_hubs_layout_is_read_and_its_class_labels_are_named(tmp_path):
    data = hub_layout(tmp_path / "wikiner")
    assert load_tagged(data, "train", tmp_path / "cache") == SENTENCES
    assert list(load_text(data, "train", tmp_path / "cache")) == [" ".join(s.tokens) for s in SENTENCES]


def test_the_hubs_own_names_of_splits_and_faults_of_columns(tmp_path):
    base = hub_layout(tmp_path / "wikiner")

    def changed(**changes):
        return DataRef("hub", "gl", "sha256:0", "wikiner", changes.pop("subset", "gl"), files=base.files, **changes)

    cache = tmp_path / "cache"
    assert load_tagged(changed(splits=(("validation", "dev"),)), "validation", cache) == SENTENCES
    assert "no column 'words'" in faults(load_tagged, changed(tokens_column="words"), "train", cache)[0]
    assert "holds no strings" in faults(load_text, changed(text_column="ner_tags"), "train", cache)[0]
    named = tuple((split, split) for split in ("train", "validation", "test"))
    assert "cannot be loaded" in faults(load_tagged, changed(subset="xx", splits=named), "train", cache)[0]
    assert "no test split" in faults(load_tagged, changed(), "test", cache)[0]
    assert "cannot be read" in faults(load_tagged, changed(subset="xx"), "train", cache)[0]
    assert len(load_text(changed(limits=(("train", 2),)), "train", cache)) == 2


def test_a_card_cannot_name_files_outside_its_directory(tmp_path):
    json_lines(tmp_path / "secret.jsonl", map(row, SENTENCES))
    (tmp_path / "set").mkdir()
    card = "---\nconfigs:\n- config_name: gl\n  data_files:\n  - split: train\n    path: ../secret.jsonl\n---\n"
    write(tmp_path / "set" / "README.md", card)
    data = DataRef("hub", "gl", "0", "set", "gl", files=(("directory", str(tmp_path / "set")),))
    assert "outside its data set's directory" in faults(load_tagged, data, "train", tmp_path / "cache")[0]


def test_the_embedded_corpora_and_sentences_are_read():
    data = DataRef("cldr", "gl", "babel", limits=(("validation", 20),))
    assert len(load_text(data, "validation")) == len(load_tagged(data, "validation")) == 20
    assert load_tagged(data, "test")[0].tags


def test_a_text_file_is_one_text_a_line_without_blank_ones(tmp_path):
    path = write(tmp_path / "a.txt", "\ufeffunha liña\r\n\n   \n第二行\x85\u2028x\nfin")
    assert list(load_text(ref("text", path), "train", tmp_path)) == ["unha liña", "第二行\x85\u2028x", "fin"]


def test_texts_that_look_like_dates_or_numbers_stay_text(tmp_path):
    path = json_lines(tmp_path / "a.jsonl", [{"text": "2024-01-01"}, {"text": "12"}])
    assert list(load_text(ref("json", path), "train", tmp_path)) == ["2024-01-01", "12"]


def test_a_file_that_changed_is_read_anew(tmp_path):
    path = write(tmp_path / "a.txt", "one\n")
    assert list(load_text(ref("text", path), "train", tmp_path)) == ["one"]
    write(path, "one\ntwo\n")
    assert list(load_text(ref("text", path), "train", tmp_path)) == ["one", "two"]


# Faults.


def test_all_faults_of_a_json_file_come_at_once_with_their_rows(tmp_path):
    rows = [row(SENTENCES[0]), {"tokens": ["a"]}, {"tokens": ["a"], "ner_tags": ["O", "O"]}]
    rows += [{"tokens": "a", "ner_tags": ["O"]}, {"tokens": ["a", 3], "ner_tags": ["O", "O"]}]
    rows += [{"tokens": ["a"], "ner_tags": ["B-ORG"]}, {"tokens": ["a"], "ner_tags": ["I-LOC"]}]
    rows += [{"tokens": [], "ner_tags": []}, {"tokens": ["a"], "ner_tags": [9]}]
    path = json_lines(tmp_path / "a.jsonl", rows)
    path.write_text(path.read_text() + '{"tokens": [\n[1]\n')
    found = faults(load_tagged, ref("json", path, label_names=LABELS), "train", tmp_path)
    expected = {
        2: "no column 'ner_tags'",
        3: "differ in number",
        4: "are no list",
        5: "a token is no string",
        6: "outside label_names",
        7: "invalid IOB2",
        8: "without tokens",
        9: "a number without a name",
        10: "not valid JSON",
        11: "not a JSON object",
    }
    assert len(found) == len(expected)
    for number, words in expected.items():
        assert any(f"a.jsonl:{number}" in fault and words in fault for fault in found), words


def test_twenty_faults_are_shown_and_the_others_counted(tmp_path):
    path = json_lines(tmp_path / "a.jsonl", [{"txt": "x"}] * 50)
    found = faults(load_text, ref("json", path), "train", tmp_path)
    assert len(found) == 21 and "30 more faults" in found[-1]


def test_text_that_is_no_string_or_no_utf8_is_a_fault(tmp_path):
    path = json_lines(tmp_path / "a.jsonl", [{"text": "x"}, {"text": 3}, {"text": None}, {"other": 1}])
    found = faults(load_text, ref("json", path), "train", tmp_path)
    assert ["a.jsonl:2" in found[0], "a.jsonl:3" in found[1], "a.jsonl:4" in found[2]] == [True] * 3
    (tmp_path / "b.txt").write_bytes(b"good\nbad \xff\n")
    assert "b.txt:2: not UTF-8" in faults(load_text, ref("text", tmp_path / "b.txt"), "train", tmp_path)[0]


@pytest.mark.parametrize("array", ["[1, 2]", '[{"tokens": ', "[" * 100_000])
def test_broken_json_arrays_are_refused(tmp_path, array):
    assert faults(load_tagged, ref("json", write(tmp_path / "a.json", array)), "train", tmp_path)


def test_conll_lines_without_tag_and_unknown_tags_are_faults(tmp_path):
    path = write(tmp_path / "a.conll", "Ana B-PER\nalone\n\nVigo LOC\n")
    found = faults(load_tagged, ref("conll", path), "train", tmp_path)
    assert "a.conll:2" in found[0] and "a.conll:4" in found[1]


def test_absent_files_splits_and_empty_data_are_refused(tmp_path):
    assert "no such file" in faults(load_text, ref("text", tmp_path / "none.txt"), "train", tmp_path)[0]
    empty = write(tmp_path / "empty.txt", "\n\n")
    assert "is empty" in faults(load_text, ref("text", empty), "train", tmp_path)[0]
    assert "set hold_out" in faults(load_text, ref("text", empty), "test", tmp_path)[0]
    assert "no labelled words" in faults(load_tagged, ref("text", empty), "train", tmp_path)[0]
    assert "no raw text" in faults(load_text, ref("conll", empty), "train", tmp_path)[0]


# Hold-out and limits.


def parts(data, cache, load=load_text):
    return {split: list(load(data, split, cache)) for split in ("train", "validation", "test")}


def test_held_out_splits_are_disjoint_complete_and_independent_of_order(tmp_path):
    texts = [f"text {number % 90}" for number in range(100)]  # with duplicates
    forward = ref("text", write(tmp_path / "a.txt", "\n".join(texts)), hold_out=0.1)
    backward = ref("text", write(tmp_path / "b.txt", "\n".join(reversed(texts))), hold_out=0.1)
    one, other = parts(forward, tmp_path), parts(backward, tmp_path)
    assert sorted(chain.from_iterable(one.values())) == sorted(texts)
    sets = [set(texts) for texts in one.values()]
    assert not (sets[0] & sets[1] or sets[0] & sets[2] or sets[1] & sets[2])
    assert len(sets[1]) == len(sets[2]) == 9
    assert {split: sorted(texts) for split, texts in one.items()} == {k: sorted(v) for k, v in other.items()}
    assert one["train"] == [text for text in texts if text in sets[0]], "the data's order is kept"


def test_only_absent_splits_are_held_out(tmp_path):
    train = write(tmp_path / "a.txt", "\n".join(map(str, range(40))))
    own = write(tmp_path / "test.txt", "own\n")
    data = DataRef("text", "gl", "0", hold_out=0.25, files=(("train", str(train)), ("test", str(own))))
    found = parts(data, tmp_path)
    assert (len(found["train"]), len(found["validation"]), found["test"]) == (30, 10, ["own"])


def test_sentences_are_held_out_by_their_words_alone(tmp_path):
    rows = [{"tokens": [f"w{n}"], "ner_tags": [tag]} for n in range(20) for tag in ("O", "B-LOC")]
    found = parts(ref("json", json_lines(tmp_path / "a.jsonl", rows), hold_out=0.2), tmp_path, load_tagged)
    words = [{s.tokens for s in sentences} for sentences in found.values()]
    assert [len(sentences) for sentences in found.values()] == [24, 8, 8]
    assert not words[0] & words[1] and not words[1] & words[2]


@given(st.lists(st.text(max_size=3), min_size=5, max_size=40), st.floats(0.01, 0.3))
def test_hold_out_is_a_partition_that_keeps_equal_texts_together(texts, share):
    if len(set(texts)) < 5:
        return
    hashes = [example_hash(text) for text in texts]
    rows = [cut(hashes, split, ("train",), share, "x").tolist() for split in ("train", "validation", "test")]
    assert sorted(chain.from_iterable(rows)) == list(range(len(texts)))
    side = {}
    for number, part in enumerate(rows):
        assert part
        for index in part:
            assert side.setdefault(texts[index], number) == number


def test_too_small_a_corpus_or_too_large_a_share_cannot_be_held_out(tmp_path):
    path = write(tmp_path / "a.txt", "same\nsame\nother\n")
    assert "too few" in faults(load_text, ref("text", path, hold_out=0.1), "test", tmp_path)[0]
    assert "0.5" in faults(load_text, ref("text", path, hold_out=0.5), "test", tmp_path)[0]


def test_limits_keep_the_first_examples(tmp_path):
    path = write(tmp_path / "a.txt", "\n".join(map(str, range(100))))
    whole = parts(ref("text", path, hold_out=0.1), tmp_path)
    limits = (("train", 5), ("validation", 3))
    limited = parts(ref("text", path, hold_out=0.1, limits=limits), tmp_path)
    assert limited == {"train": whole["train"][:5], "validation": whole["validation"][:3], "test": whole["test"]}
    assert len(load_text(ref("text", path, limits=(("train", 7),)), "train", tmp_path)) == 7


def test_a_file_is_cut_in_two_by_slices_of_its_name(tmp_path):
    path = write(tmp_path / "a.txt", "\n".join(map(str, range(10))))
    data = DataRef(
        "text", "gl", "0", splits=(("validation", "v[:50%]"), ("test", "v[5:]")),
        files=(("validation", str(path)), ("test", str(path))),
    )  # fmt: skip
    assert "".join(load_text(data, "validation", tmp_path)) == "01234"
    assert "".join(load_text(data, "test", tmp_path)) == "56789"


# Real data.


def test_real_named_entity_files_are_read(tmp_path):
    for language in ("en", "pt", "zh"):
        files = tuple((s, str(data_folder() / "uner" / language / f"{s}.jsonl")) for s in ("train", "test"))
        data = DataRef("json", language, "0", files=files)
        rows = Path(files[0][1]).read_text(encoding="utf-8").splitlines()
        assert len(load_tagged(data, "train", tmp_path)) == len(rows) >= 600
        assert {tag[2:] for s in load_tagged(data, "test", tmp_path) for tag in s.tags} == {"", "LOC", "ORG", "PER"}


def test_real_texts_are_held_out(tmp_path):
    path = data_folder() / "text" / "udhr" / "tam" / "train.jsonl"
    found = parts(ref("json", path, hold_out=0.1), tmp_path)
    assert all(found.values()) and len(found["train"]) > 40


# Stray tags.


def spans_of_seqeval(tags):
    return [(kind, start, end) for kind, start, end in get_entities(list(tags))]


STRAY = [
    (["I-LOC", "I-LOC", "O"], ["B-LOC", "I-LOC", "O"], 1),
    (["B-PER", "I-LOC", "I-LOC"], ["B-PER", "B-LOC", "I-LOC"], 1),
    (["O", "I-LOC", "O", "I-PER"], ["O", "B-LOC", "O", "B-PER"], 2),
    (["I-PER", "I-LOC", "I-PER"], ["B-PER", "B-LOC", "B-PER"], 3),
    (["B-PER", "I-PER", "B-PER"], ["B-PER", "I-PER", "B-PER"], 0),
]


def test_stray_tags_are_read_as_the_scorer_reads_them_and_counted(tmp_path):
    rows = [{"tokens": [f"w{n}" for n in range(len(tags))], "ner_tags": tags} for tags, _, _ in STRAY]
    path = json_lines(tmp_path / "a.jsonl", rows)
    found = load_tagged(ref("json", path, repair=True), "train", tmp_path)
    assert [(list(one.tags), one.repaired) for one in found] == [(tags, count) for _, tags, count in STRAY]
    for one, (written, _, _) in zip(found, STRAY, strict=True):
        assert spans_of_seqeval(one.tags) == spans_of_seqeval(written)
    assert [one.repaired for one in load_tagged(ref("json", path, repair=True), "train", tmp_path)] == [1, 1, 2, 3, 0]


def test_the_refusal_of_a_stray_tag_names_the_option_that_reads_it(tmp_path):
    path = json_lines(tmp_path / "a.jsonl", [{"tokens": ["a"], "ner_tags": ["I-LOC"]}])
    (found,) = faults(load_tagged, ref("json", path), "train", tmp_path)
    assert "invalid IOB2" in found and "`repair: true`" in found
    conll = write(tmp_path / "a.conll", "Vigo\tI-LOC\n\n")
    (only,) = load_tagged(ref("conll", conll, repair=True), "train", tmp_path)
    assert (only.tags, only.repaired) == (("B-LOC",), 1)
    wrong = json_lines(tmp_path / "b.jsonl", [{"tokens": ["a", "b"], "ner_tags": ["I-LOC", "LOC"]}])
    assert "not an IOB2 tag" in faults(load_tagged, ref("json", wrong, repair=True), "train", tmp_path)[0]


def test_a_data_set_of_the_hub_is_mended_too(tmp_path):
    (tmp_path / "set").mkdir()
    rows = [{"tokens": ["a", "b"], "ner_tags": ["O", "I-LOC"]}]
    json_lines(tmp_path / "set" / "train.jsonl", rows)
    data = DataRef("hub", "gl", "0", "set", files=(("directory", str(tmp_path / "set")),), repair=True)
    (only,) = load_tagged(data, "train", tmp_path / "cache")
    assert (only.tags, only.repaired) == (("O", "B-LOC"), 1)


# Parts of speech.


def test_parts_of_speech_are_names_that_stand_for_themselves(tmp_path):
    rows = [{"words": ["Es", "regnet", "."], "upos": ["PRON", "VERB", "PUNCT"]}]
    path = json_lines(tmp_path / "a.jsonl", rows)
    data = ref("json", path, tokens_column="words", labels_column="upos")
    (only,) = load_tagged(data, "train", tmp_path, "pos")
    assert only == Sentence(("Es", "regnet", "."), ("PRON", "VERB", "PUNCT"))
    numbered = json_lines(tmp_path / "b.jsonl", [{"tokens": ["Es"], "ner_tags": [1]}])
    (named,) = load_tagged(ref("json", numbered, label_names=("NOUN", "PRON")), "train", tmp_path, "pos")
    assert named.tags == ("PRON",)
    conll = write(tmp_path / "a.conllu", "# text = Es regnet\n1\tEs\tes\tPRON\n2\tregnet\tregnen\tVERB\n\n")
    columns = {"tokens_column": "1", "labels_column": "3"}
    (read,) = load_tagged(ref("conll", conll, **columns), "train", tmp_path, "pos")
    assert read == Sentence(("Es", "regnet"), ("PRON", "VERB"))


@pytest.mark.parametrize(
    ("tags", "names", "fault"),
    [(["NOUN", " "], (), "no tag"), (["NOUN", "VRB"], ("NOUN", "VERB"), "a tag outside label_names")],
)
def test_a_word_without_a_part_of_speech_is_a_fault(tmp_path, tags, names, fault):
    path = json_lines(tmp_path / "a.jsonl", [{"tokens": ["a", "b"], "ner_tags": tags}])
    (found,) = faults(load_tagged, ref("json", path, label_names=names), "train", tmp_path, "pos")
    assert fault in found and "token 2" in found


# How files come.


@pytest.mark.parametrize("pack", [gzip.compress, bz2.compress, lzma.compress])
def test_compressed_files_are_read(tmp_path, pack):
    lines = json_lines(tmp_path / "a.jsonl", map(row, SENTENCES)).read_bytes()
    conll = "".join("".join(f"{t}\t{g}\n" for t, g in zip(s.tokens, s.tags, strict=True)) + "\n" for s in SENTENCES)
    for source, content in (("json", lines), ("conll", conll.encode())):
        path = tmp_path / f"{source}.packed"
        path.write_bytes(pack(content))
        assert list(load_tagged(ref(source, path), "train", tmp_path)) == SENTENCES
    path.write_bytes(pack(lines * 100)[:-9])
    assert "damaged" in faults(load_tagged, ref("json", path), "train", tmp_path)[-1]


def test_other_compressed_files_are_called_so(tmp_path):
    path = tmp_path / "a.jsonl.zst"
    path.write_bytes(b"\x28\xb5\x2f\xfd rest")
    assert "compressed by Zstandard" in faults(load_text, ref("json", path), "train", tmp_path)[0]


def test_half_a_character_is_a_fault_with_its_line_and_a_whole_one_is_none(tmp_path):
    text = '{"text": "a"}\n{"text": "\\ud83d\\ude00"}\n{"text": "cut \\ud83d"}\n'
    found = faults(load_text, ref("json", write(tmp_path / "a.jsonl", text)), "train", tmp_path)
    assert len(found) == 1 and "a.jsonl:3: half of a character" in found[0]
    array = write(tmp_path / "b.json", f"[{','.join(text.split(chr(10))[:3])}]")
    assert "row 3: half of a character" in faults(load_text, ref("json", array), "train", tmp_path)[0]


def test_the_number_without_a_name_is_told(tmp_path):
    path = json_lines(tmp_path / "a.jsonl", [{"tokens": ["a", "b", "c"], "ner_tags": [0, 1, -100]}])
    (found,) = faults(load_tagged, ref("json", path, label_names=LABELS), "train", tmp_path)
    assert "a.jsonl:1: a number without a name (got -100); numbers of tags are 0 to 4" in found
