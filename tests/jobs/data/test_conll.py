"""What is a word in a CoNLL file: nothing is lost, joined or taken for one in silence."""

from __future__ import annotations

import pytest
from data_files import ref, write

from jobs.data.load import load_tagged
from jobs.errors import InputError

WORDS = "Anna B-PER\ngoes O\nto O\nRoma B-LOC\n\n"


def tokens(path, text, kind="ner", **columns):
    write(path, "") if text is None else path.write_bytes(text.encode())
    return [list(one.tokens) for one in load_tagged(ref("conll", path, **columns), "train", path.parent, kind)]


def fault(path, text, kind="ner", **columns):
    with pytest.raises(InputError) as caught:
        tokens(path, text, kind, **columns)
    return str(caught.value.faults[0])


ANNA = ["Anna", "goes", "to", "Roma"]


@pytest.mark.parametrize(
    ("before", "words"),
    [
        ("# text = Her blood type is O\n", []),
        ("# newdoc id = a.1\n# sent_id = 3\n# global.columns = ID FORM\n", []),
        ("#begin document (nw/wsj/00/wsj_0001); part 000\n", []),
        ("#\n", []),
        ("-DOCSTART- -X- O O\n\n", []),
        ("# O\n", ["#"]),
        ("# B-PER\n", ["#"]),
        ("#1 B-PER\n", ["#1"]),
        ("#tag O\n#more O\n", ["#tag", "#more"]),
    ],
)
def test_comments_are_no_words_and_words_may_begin_with_a_hash(tmp_path, before, words):
    assert tokens(tmp_path / "a.conll", before + WORDS) == [[*words, *ANNA]]


def test_a_comment_of_as_many_fields_as_words_have_and_one_with_a_tab_are_comments(tmp_path):
    four = "# text = O\nAnna NNP I-NP B-PER\ngoes VBZ I-VP O\n\n"
    assert tokens(tmp_path / "a.conll", four) == [["Anna", "goes"]]
    multiconer = "# id 5239d808\tdomain=en\nAnna _ _ B-PER\ngoes _ _ O\n\n"
    assert tokens(tmp_path / "b.conll", multiconer) == [["Anna", "goes"]]


def test_a_hash_that_may_be_either_and_one_without_its_tag_are_faults(tmp_path):
    pos = "# SYM\nAnna PROPN\ngoes VERB\n\n"
    assert "a.conll:1: a comment, or the word #?" in fault(tmp_path / "a.conll", pos, "pos")
    seen = "# SYM\nAnna PROPN\n\n5 NUM\n% SYM\n\n"
    assert tokens(tmp_path / "b.conll", seen, "pos") == [["#", "Anna"], ["5", "%"]]
    assert "c.conll:1" in fault(tmp_path / "c.conll", f"#hashtag\n{WORDS}")


@pytest.mark.parametrize("space", ["\u00a0", "\u2009", "\u3000", "\u202f"])
def test_only_plain_spaces_and_tabs_separate_columns(tmp_path, space):
    assert tokens(tmp_path / "a.conll", f"10{space}000 O\neuros  O \n\n") == [[f"10{space}000", "euros"]]
    assert tokens(tmp_path / "b.conll", f"10{space}000\tO\nNew York\tB-LOC\n\n") == [[f"10{space}000", "New York"]]


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_line_ends_of_every_system_are_line_ends(tmp_path, end):
    assert tokens(tmp_path / "a.conll", (WORDS * 3).replace("\n", end)) == [ANNA] * 3


def test_a_line_end_of_another_system_inside_a_line_is_a_fault(tmp_path):
    assert "a.conll:2: a line end inside a line" in fault(tmp_path / "a.conll", "Anna B-PER\ngoes O\rto O\n\n")


def test_lines_with_more_or_fewer_columns_than_the_others_are_faults(tmp_path):
    told = fault(tmp_path / "a.conll", "New York B-LOC\n" + WORDS)
    assert "a.conll:1: a line with more or fewer columns than the others, which have 2 (got 3)" in told
    assert "c.conll:2" in fault(tmp_path / "c.conll", "Anna\tB-PER\ngoes\tO\tO\nto\tO\n\n")


def test_columns_counted_from_the_start_may_be_followed_by_as_many_as_a_sentence_wants(tmp_path):
    """As in CoNLL-2012, where every predicate of a sentence has a column of its own."""
    text = "0 Anna B-PER *\n1 goes O (V*)\n\n0 Roma B-LOC\n\n"
    columns = {"tokens_column": "1", "labels_column": "2"}
    assert tokens(tmp_path / "a.conll", text, **columns) == [["Anna", "goes"], ["Roma"]]
    assert "b.conll:2" in fault(tmp_path / "b.conll", "0 Anna B-PER *\n1 goes O\n\n", **columns)
