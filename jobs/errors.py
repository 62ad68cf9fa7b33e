"""The one exception for faults a user can mend: the CLI prints it without a traceback and exits with 2."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Fault:
    """One fault: `what` is wrong, `where` (file:line: key), what was `got`, and what to do (`todo`)."""

    what: str
    where: str = ""
    got: str = ""
    todo: str = ""

    def __str__(self) -> str:
        """One line: `where: what (got ...); todo`.

        Parts of it come out of strangers' files: what would move a terminal's cursor or begin a line is written as its
        escape.
        """
        line = f"{self.where}: {self.what}" if self.where else self.what
        if self.got:
            line += f" (got {self.got})"
        return printable(f"{line}; {self.todo}" if self.todo else line)


def printable(text: str) -> str:
    """`text` on one line; control characters, and marks that turn the direction of writing, as their escapes."""
    return "".join(
        letter.encode("unicode_escape").decode() if unicodedata.category(letter) in _UNSEEN else letter
        for letter in text
    )


# Unicode's categories: control characters, invisible format marks, lone surrogates, ends of lines and paragraphs.
_UNSEEN = ("Cc", "Cf", "Cs", "Zl", "Zp")


class InputError(Exception):
    """One or more faults in what the user gave: a file, a flag, an adapter, data. Exit code 2."""

    def __init__(self, *faults: Fault | str) -> None:
        """Keep every fault; a plain string is a fault with nothing but `what`."""
        self.faults: tuple[Fault, ...] = tuple(Fault(f) if isinstance(f, str) else f for f in faults)
        super().__init__("\n".join(map(str, self.faults)))

    def __reduce__(self) -> tuple[type[InputError], tuple[Fault, ...]]:
        """Survive the way back from a Ray worker with the faults intact."""
        return type(self), self.faults


def raise_all(faults: Iterable[Fault]) -> None:
    """Raise one InputError that holds all `faults`; return when there are none."""
    collected = tuple(faults)
    if collected:
        raise InputError(*collected)
