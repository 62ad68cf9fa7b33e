"""What a library raises over a stranger's files, told in one line; a panic of its native code is a step's failure."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager

from jobs.errors import Fault, InputError

_CLASS = re.compile(r"<class '([\w.]+)'>")


@contextmanager
def panics_as_faults() -> Iterator[None]:
    """Raise InputError in place of a panic of a native library; all else passes."""
    try:
        yield
    except BaseException as error:
        if not _is_panic(error):
            raise
        todo = "a damaged file is the usual cause: save tokenizer and weights anew"
        raise InputError(Fault("the native code of a library gave up", got=said(error), todo=todo)) from error


@contextmanager
def library_faults(what: str, where: str, todo: str = "") -> Iterator[None]:
    """Raise InputError in place of whatever a library raises, a panic included; its traceback stays behind ours."""
    try:
        yield
    except InputError:
        raise
    except BaseException as error:
        if not isinstance(error, Exception) and not _is_panic(error):
            raise
        raise InputError(Fault(what, where, said(error), todo)) from error


def said(error: BaseException) -> str:
    """A library's message on one line, short enough for ours."""
    return " ".join(_CLASS.sub(r"\1", str(error)).split())[:200] or type(error).__name__


def _is_panic(error: BaseException) -> bool:
    """PyO3, which joins Rust (tokenizers, safetensors) to Python, makes an exception of it that is no Exception."""
    return type(error).__module__ == "pyo3_runtime"
