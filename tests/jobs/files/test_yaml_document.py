from pathlib import Path

import pytest

from jobs.errors import InputError
from jobs.files.yaml_document import dotted, nearest, read_yaml, substitute


@pytest.fixture
def read(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    def read(text, raw=None):
        file = tmp_path / "c.yaml"
        file.write_bytes(raw if raw is not None else text.encode())
        return read_yaml(file)

    return read


def refusal(read, text, raw=None):
    with pytest.raises(InputError) as caught:
        read(text, raw)
    return str(caught.value)


def test_every_key_and_item_knows_its_line(read):
    document = read("a: 1\nb:\n  - x\n  - c: 2\n")
    assert document.content == {"a": 1, "b": ["x", {"c": 2}]}
    assert document.where(("b", 1, "c")) == "c.yaml:4: b[1].c"
    assert document.where(("b", 1, "absent", "deeper")) == "c.yaml:4: b[1].absent.deeper"
    assert document.where(()) == "c.yaml:1"


def test_no_is_norwegian_and_off_is_a_word(read):
    assert read("pool: [no, on, y, off, yes, true, false]").content == {
        "pool": ["no", "on", "y", "off", "yes", True, False]
    }


def test_a_key_given_twice_is_named_with_both_lines(read):
    said = refusal(read, "a:\n  b: 1\n  c: 2\n  b: 3\nd: 1\nd: 2\n")
    assert said.splitlines() == [
        "c.yaml:4: a.b: the key is given twice (got first in line 2)",
        "c.yaml:6: d: the key is given twice (got first in line 5)",
    ]


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("a: [1\nb: 2\n", "c.yaml:2"),
        ("a: !!python/object/apply:os.system [true]\n", "c.yaml:1"),
        ("a: 1\n---\nb: 2\n", "c.yaml:2"),
        ("a: &x 1\nb: *y\n", "c.yaml:2"),
        ("? [1]\n: 2\n", "c.yaml:1"),
        ("when: 2026-99-99\n", "c.yaml"),
        ("a: \x07\n", "c.yaml"),
    ],
)
def test_what_is_no_plain_yaml_is_one_line(read, text, line):
    said = refusal(read, text)
    assert said.startswith(f"{line}: not valid YAML")
    assert "\n" not in said


def test_bytes_that_are_no_text_and_files_that_are_not_there_are_refused(read, tmp_path):
    assert "cannot be read" in refusal(read, "", b"a: \xff\xfe")
    with pytest.raises(InputError, match="cannot be read"):
        read_yaml(Path("nowhere.yaml"))


def test_anchors_may_be_used_but_not_to_blow_up_a_file(read):
    assert read("a: &t {x: 1}\nb: *t\n").content["b"] == {"x": 1}
    laughs = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n" + "".join(
        f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]\n" for i in range(1, 9)
    )
    assert "too large or too deep" in refusal(read, laughs)
    assert "too large or too deep" in refusal(read, "a: &a [*a]\n")


def test_variables_are_replaced_in_texts_alone(read):
    document = read("a: ${x}/f\nb: [1, '${x}']\nc: 2.5\n")
    assert substitute(document, {"x": "there"}).content == {"a": "there/f", "b": [1, "there"], "c": 2.5}


def test_unknown_variables_are_listed_together_with_their_lines(read):
    with pytest.raises(InputError) as caught:
        substitute(read("a: ${x}\nb:\n  - ${y}\n"), {"here": "."})
    assert str(caught.value).splitlines() == [
        "c.yaml:1: a: unknown variable (got ${x}); variables here: here",
        "c.yaml:3: b[0]: unknown variable (got ${y}); variables here: here",
    ]


def test_paths_and_suggestions_read_well():
    assert dotted(("a", 0, "b")) == "a[0].b"
    assert nearest("languges", ["languages", "tasks"]) == 'did you mean "languages"?'
    assert nearest("zzz", ["a", "b"]) == "known: a, b"
