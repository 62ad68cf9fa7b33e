"""Large corpora of a bank, tokenized side by side on free CPUs before the bank takes its devices."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import ray

from jobs.errors import InputError
from jobs.ray.mailbox import Sender
from jobs.spec import DataRef, JobCall, LanguageAdapterSpec, LanguageCall

# Bytes of local text. Less is tokenized by the bank itself sooner than a process for it starts.
LARGE = 64 << 20
_LOG = logging.getLogger(__name__)


def prepare_corpora(calls: Sequence[JobCall[Any]], sender: Sender, cpus: float) -> None:
    """Bring the large corpora of `calls` into their cache, a task each; blocks until that is done or the driver leaves.

    `cpus`: what the bank will ask for, and a task may take of it; further tasks run where CPUs are free. What cannot
    be read is left to the bank, which tells it for its language alone. A workspace in a bucket has a cache on each
    node: there the bank tokenizes by itself.
    """
    large = [call for call in calls if call.bucket is None and _is_large(call)]
    task = ray.remote(num_cpus=min(1.0, cpus), max_retries=1)(_prepare)
    waiting = [task.remote(call) for call in large]
    while waiting:
        done, waiting = ray.wait(waiting, num_returns=len(waiting), timeout=1.0)
        for reference in done:
            _tell_loss(reference)
        if sender.asks_for_shutdown():
            for reference in waiting:
                ray.cancel(reference, force=True)
            return


def _is_large(call: JobCall[Any]) -> bool:
    return isinstance(call.spec, LanguageAdapterSpec) and _size(call.spec.corpus) >= LARGE


def _size(corpus: DataRef) -> int:
    """Bytes of text; a data set of the hub counts as large, the embedded texts as nothing."""
    if corpus.source == "hub":
        return LARGE
    return sum(Path(path).stat().st_size for _, path in corpus.files if Path(path).is_file())


def _prepare(call: LanguageCall) -> None:
    from jobs.tokens.text_blocks import corpus_blocks

    try:
        for split in ("train", "validation"):
            corpus_blocks(call.spec, split, call.cache)
    except InputError as fault:
        _LOG.info("%s: %s", call.name, fault)  # the bank meets it again, and makes it the outcome of this call


def _tell_loss(reference: ray.ObjectRef) -> None:
    try:
        ray.get(reference)
    except ray.exceptions.RayError as lost:
        _LOG.warning("a corpus was not tokenized ahead of its bank, which now does it: %s", lost)
