"""Adapters of a few optimizer steps, in place of a whole training: which way a language's text turns the weights.

Zhou, Xu and McAuley (arXiv 2210.11705) take the tuned parameters of early checkpoints for embeddings of tasks, to save
the rest of the trainings; here they stand for languages.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from jobs.banks.bank import CorpusError, train_languages
from jobs.errors import InputError
from jobs.spec import DataRef, JobCall, JobResult, LanguageAdapterSpec
from jobs.training.progress import DivergedError

# Languages in memory at a time: a number of no machine's own, so that the same command rounds alike.
_TOGETHER = 8


def few_step_adapters(
    like: LanguageAdapterSpec, texts: Mapping[str, DataRef], steps: int, theta_pre: Path, folder: Path, cache: Path
) -> dict[str, JobResult | str]:
    """Train an adapter of each language on its text alone, for `steps` optimizer steps from `theta_pre`, into
    `folder`/language; all else, the seed too, is as `like` has it.

    Order and masks are drawn as for `like`, the same for all: equal texts give equal adapters, whatever the language is
    called. The schedule is that of a training of this length. The first held-out block is passed once, as a bank does
    at the end, and chooses nothing; a text without a held-out part is its own. Returns what a record would say, or in a
    line why a text cannot be learned from. Raises InputError for a backbone that cannot be used.
    """
    brief = replace(
        like.training,
        optimizer_steps=steps,
        epochs=0,
        evaluate_every=steps,
        evaluation_examples=1,
        patience=0,
    )
    calls = []
    for language, data in texts.items():
        (output := folder / language).mkdir(parents=True)
        spec = replace(like, corpus=_with_held_out(data), training=brief)
        place = folder / "checkpoints" / language
        calls.append(JobCall(language, spec, {"theta_pre": theta_pre}, output, place, cache))
    found: dict[str, JobResult | str] = {}
    for language, outcome in train_languages(calls, capacity=_TOGETHER):
        if isinstance(outcome, Exception):
            found[language] = _reason(outcome)
        else:
            found[language] = outcome
    return found


def _with_held_out(data: DataRef) -> DataRef:
    """With as many held-out texts as training texts at most."""
    limits = {"validation": dict(data.limits).get("train", 1), **dict(data.limits)}
    files = dict(data.files)
    if "train" in files and not data.hold_out:
        files.setdefault("validation", files["train"])
    return replace(data, limits=tuple(sorted(limits.items())), files=tuple(files.items()))


def _reason(outcome: Exception) -> str:
    """What a text lacks. Raises what is no fault of a text."""
    if isinstance(outcome, InputError):
        return "; ".join(f"{fault.what} (got {fault.got})" if fault.got else fault.what for fault in outcome.faults)
    if isinstance(outcome, CorpusError | DivergedError):
        return str(outcome)
    raise outcome
