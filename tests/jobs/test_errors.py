"""What a message is made of may come out of a stranger's file: it stays one line and steers nothing."""

from __future__ import annotations

import pytest

from jobs.errors import Fault, InputError


@pytest.mark.parametrize(
    ("letters", "shown"),
    [
        ("a\x1b[2Jb", r"a\x1b[2Jb"),  # ESC begins a terminal's sequences
        ("a\nerror: b", r"a\nerror: b"),
        ("a\rb", r"a\rb"),
        ("a\u2028b\u2029c", r"a\u2028b\u2029c"),  # ends of lines and paragraphs
        ("a\x85b\x9bc", r"a\x85b\x9bc"),  # next line; the C1 twin of ESC [
        ("a\u202eb\u2066c", r"a\u202eb\u2066c"),  # marks that turn the direction of writing
        ("a\u200bb\ufeffc", r"a\u200bb\ufeffc"),  # widthless
        ("a\ud800b", r"a\ud800b"),  # half of a pair, which no terminal's encoding can hold
    ],
)
@pytest.mark.parametrize("part", ["what", "where", "got", "todo"])
def test_what_steers_a_terminal_is_shown_as_its_escape(letters, shown, part):
    parts = {"what": "w", "where": "x", "got": "g", "todo": "t"}
    message = str(Fault(**{**parts, part: letters}))
    wanted = {**parts, part: shown}
    assert message == f"{wanted['where']}: {wanted['what']} (got {wanted['got']}); {wanted['todo']}"


def test_other_letters_stay_as_they_are():
    text = "zh-中文, עברית, हिन्दी, é, 🙂"
    assert str(Fault(text)) == text


def test_several_faults_are_as_many_lines():
    assert str(InputError(Fault("a\nb"), "c\n")).splitlines() == [r"a\nb", r"c\n"]
