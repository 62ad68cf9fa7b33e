"""The command line in this process: a process of its own takes seconds to begin."""

import sys
from typing import NamedTuple

import pytest

from orchestrator.cli import app as command_line


class Answer(NamedTuple):
    """What a command left: its exit code, its standard output and its standard error."""

    returncode: int
    stdout: str
    stderr: str


@pytest.fixture
def call(monkeypatch, capsys):
    """Calls the command line as the shell would, with its words."""

    def run(*words: object) -> Answer:
        monkeypatch.setattr(sys, "argv", ["adapterfleet", *map(str, words)])
        with pytest.raises(SystemExit) as left:
            command_line.main()
        said = capsys.readouterr()
        return Answer(int(left.value.code or 0), said.out, said.err)

    return run
