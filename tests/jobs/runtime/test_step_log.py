"""Warnings, errors and tracebacks of a step as notes."""

import logging
import warnings

from jobs.runtime.step_log import LONGEST, MOST_ALIKE, failure, log_entry, logged


def test_what_a_library_logs_or_warns_becomes_a_note_of_every_step_of_the_bank():
    heard = []
    with logged(["a", "b"], heard.append):
        logging.getLogger("some.library").warning("low on %s", "ideas")
        logging.getLogger("some.library").info("never mind")
        logging.getLogger("transformers.trainer").error("that went wrong")
        warnings.warn("soon gone", UserWarning, stacklevel=1)
    logging.getLogger("some.library").warning("after the step")
    assert [(one.step, one.level) for one in heard[:4]] == [
        ("a", "warning"), ("b", "warning"), ("a", "error"), ("b", "error"),
    ]  # fmt: skip
    assert heard[0].message == "some.library: low on ideas"
    assert "soon gone" in heard[4].message and heard[4].message.startswith("py.warnings")
    assert len(heard) == 6 and heard[0].host and heard[0].pid


def test_many_alike_are_kept_a_few_times():
    heard = []
    with logged(["a"], heard.append):
        for _ in range(1000):
            logging.getLogger("x").warning("again")
    assert len(heard) == MOST_ALIKE and heard[-1].message.endswith("(the last of many alike that is kept)")


def test_a_failure_has_its_traceback_and_no_secret():
    try:
        raise RuntimeError("cannot reach http://me:s3cr3t@host")
    except RuntimeError as error:
        told = failure("a", error)
    assert told.level == "error" and "test_step_log.py" in told.message and "http://[hidden]@host" in told.message
    assert "s3cr3t" not in told.message


def test_a_very_long_message_is_cut():
    assert log_entry("a", "info", "y" * (LONGEST + 7)).message.endswith("y ... 7 characters more")


def test_a_channel_that_breaks_stops_no_step(capsys):
    def broken(said):
        raise OSError("gone")

    with logged(["a"], broken):
        logging.getLogger("x").warning("hello")
    assert "OSError: gone" in capsys.readouterr().err
