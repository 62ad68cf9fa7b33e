"""Trainings of a bank that are stopped on the way, between two batches."""

from __future__ import annotations

from jobs.banks import bank
from jobs.training import checkpoint


class Stop(BaseException):
    """What a process gets that has to leave."""


def stops_at(monkeypatch, step, name=None):
    """A progress that raises `Stop` at an optimizer step, of the call `name` or of any; every batch is told and saved."""
    monkeypatch.setattr(checkpoint, "SECONDS", 0.0)
    monkeypatch.setattr(checkpoint, "SHARE", 1e9)
    monkeypatch.setattr(bank, "PROGRESS_SECONDS", 0.0)

    def progress(told, values):
        if name in (None, told) and values["optimizer_step"] == step:
            raise Stop

    return progress
