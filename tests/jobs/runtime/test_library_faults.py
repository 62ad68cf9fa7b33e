"""Native code that gives up ends a step and no process; what a library says is one line."""

from __future__ import annotations

import json

import pytest
from tokenizers import Tokenizer

from jobs.backbones import embedded_backbone
from jobs.errors import Fault, InputError
from jobs.runtime.library_faults import library_faults, panics_as_faults
from jobs.runtime.step_log import logged, no_log


def panic() -> None:
    """A tokenizer whose normalizer's table is none: the library's Rust panics."""
    document = json.loads((embedded_backbone() / "tokenizer.json").read_text())
    document["normalizer"] = {"type": "Precompiled", "precompiled_charsmap": "AAAA"}
    Tokenizer.from_str(json.dumps(document)).encode("a text")


def test_a_panic_is_no_exception_without_us():
    with pytest.raises(BaseException) as raised:
        panic()
    assert not isinstance(raised.value, Exception)


@pytest.mark.parametrize("around", [panics_as_faults, lambda: logged(["step"], no_log)])
def test_a_panic_becomes_a_fault_and_other_ends_of_a_process_stay_what_they_are(around):
    with pytest.raises(InputError, match="the native code of a library gave up") as fault, around():
        panic()
    assert fault.value.__cause__ is not None and "\n" not in str(fault.value)
    for end in (KeyboardInterrupt, SystemExit, GeneratorExit, OSError, InputError("mine")):
        with pytest.raises(end if isinstance(end, type) else InputError), around():
            raise end


def test_whatever_a_library_raises_is_one_line_and_a_fault_of_ours_stays():
    for raised in (panic, lambda: {}["a"], lambda: 1 / 0, lambda: (_ for _ in ()).throw(RuntimeError("a\n\tb"))):
        with pytest.raises(InputError) as refused, library_faults("cannot be read", "file", "mend it"):
            raised()
        assert str(refused.value).startswith("file: cannot be read (got ")
        assert str(refused.value).endswith("; mend it") and "\n" not in str(refused.value)
    with pytest.raises(InputError) as own, library_faults("cannot be read", "file"):
        raise InputError(Fault("mine"))
    assert str(own.value) == "mine"
    with pytest.raises(KeyboardInterrupt), library_faults("cannot be read", "file"):
        raise KeyboardInterrupt
