"""Greedy generation in batches of like length: only new text is decoded, and what never ended is counted."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from transformers import GenerationConfig, StoppingCriteria, StoppingCriteriaList

from jobs.models.language_model import LanguageModel
from jobs.scoring.texts import until_stop
from jobs.tokens.evaluation_sets import by_length
from jobs.tokens.ragged_file import Ids

# Prompts and new tokens of a batch, padding included.
_TOKENS = {"cpu": 4096, "cuda": 32_768}
_REPORT_SECONDS = 1.0

# watch({"example": done, "of": all, "step": tokens of the current batch so far, "tokens_per_second": ...})
Watch = Callable[[dict[str, float]], None]


@dataclass(frozen=True, slots=True, eq=False)
class Generated:
    """`texts`: what was written after each prompt, without special tokens and white space around it.

    `unfinished` [prompts]: true where `max_new_tokens` were written and neither an end token nor a stop string.
    `stopped` [prompts]: true where a stop string ended the text. `tokens`: new tokens in all.
    """

    texts: list[str]
    unfinished: NDArray[np.bool_]
    stopped: NDArray[np.bool_]
    tokens: int


def unwatched(values: dict[str, float]) -> None:
    """A watch that nobody looks at."""


@torch.inference_mode()
def generate(
    model: LanguageModel,
    prompts: Sequence[Ids],
    max_new_tokens: int,
    watch: Watch = unwatched,
    stop: Sequence[str] = (),
    end: int | None = None,
) -> Generated:
    """Continue every prompt greedily until an end token or `max_new_tokens`, under whatever adapters are applied.

    A text also ends before the first of the `stop` strings (`jobs.scoring.texts.until_stop`), and its row writes no
    more once it holds one, wherever that lies in its tokens. `end`: an end token beside those of the model.

    `prompts`: token ids, specials included. Decoders are padded on the left, so that the last token of every prompt
    is followed by its own first new one, and positions are counted without padding: a prompt's text does not depend
    on its batch. The model's own defaults (sampling, repetition penalty) are not used. `watch` is told about once a
    second, within batches too.
    """
    texts = [""] * len(prompts)
    unfinished, stopped = np.zeros(len(prompts), dtype=np.bool_), np.zeros(len(prompts), dtype=np.bool_)
    pulse = _Pulse(len(prompts), watch)
    ends = _end_ids(model) | ({end} if end is not None else set())
    lengths = np.array([len(prompt) + max_new_tokens for prompt in prompts], dtype=np.int64)
    for chosen in by_length(lengths, model.device, _TOKENS):
        new = _continued(model, [prompts[place] for place in chosen], max_new_tokens, pulse, stop, ends)
        for place, ids in zip(chosen, new, strict=True):
            kept, ended = _until_end(ids, ends)
            text, stopped[place] = until_stop(_written(model, kept), stop)
            texts[place] = text.strip()
            unfinished[place] = not (ended or stopped[place])
            pulse.tokens += len(kept)
        pulse.next_batch(len(chosen))
    pulse.report()
    return Generated(texts, unfinished, stopped, pulse.tokens)


def _written(model: LanguageModel, ids: Sequence[int]) -> str:
    text: str = model.tokenizer.decode(ids, skip_special_tokens=True, clean_up_tokenization_spaces=False)
    return text


def _continued(
    model: LanguageModel,
    prompts: Sequence[Ids],
    max_new_tokens: int,
    pulse: _Pulse,
    stop: Sequence[str],
    ends: frozenset[int],
) -> list[list[int]]:
    """New tokens of each prompt, up to those that its stop string was complete with."""
    left = model.family == "decoder"
    ids, mask = padded(prompts, model.pad_id, left, model.device)
    start = ids.shape[1] if left else 1
    stops = _Stops(model, len(prompts), start, stop, ends)
    greedy = GenerationConfig(
        max_new_tokens=max_new_tokens,
        do_sample=False,
        num_beams=1,
        pad_token_id=model.pad_id,
        eos_token_id=sorted(ends),
        bos_token_id=model.tokenizer.bos_token_id,
        decoder_start_token_id=None if left else model.start_id,
    )
    found = model.model.generate(
        input_ids=ids,
        attention_mask=mask,
        generation_config=greedy,
        use_model_defaults=False,
        stopping_criteria=StoppingCriteriaList([pulse, stops] if stop else [pulse]),
    )
    rows: list[list[int]] = found[:, start:].tolist()
    return [row[: stops.lengths.get(place, len(row))] for place, row in enumerate(rows)]


def padded(rows: Sequence[Ids], pad: int, left: bool, device: torch.device) -> tuple[Tensor, Tensor]:
    """Ids and attention mask, both [rows, longest]."""
    width = max(map(len, rows))
    ids = np.full((len(rows), width), pad, dtype=np.int64)
    mask = np.zeros(ids.shape, dtype=np.int64)
    for number, row in enumerate(rows):
        place = slice(width - len(row), width) if left else slice(0, len(row))
        ids[number, place], mask[number, place] = row, 1
    return torch.from_numpy(ids).to(device), torch.from_numpy(mask).to(device)


def _until_end(ids: list[int], ends: frozenset[int]) -> tuple[list[int], bool]:
    """The ids before the first end token, and whether there is one; after it comes padding."""
    place = next((place for place, token in enumerate(ids) if token in ends), None)
    return (ids, False) if place is None else (ids[:place], True)


def _end_ids(model: LanguageModel) -> frozenset[int]:
    """The tokenizer's end token, and those that the model's files name (chat models have several)."""
    own = model.model.generation_config.eos_token_id
    named = own if isinstance(own, list) else [own]
    return frozenset(token for token in (*named, model.tokenizer.eos_token_id) if token is not None)


class _Stops(StoppingCriteria):  # type: ignore[misc]
    """Ends the rows of a batch that have written a stop string. `lengths`: row -> new tokens until then.

    Whole texts are read, never single tokens: a string may begin in the middle of one and end in another, and what a
    token stands for may depend on those before it.
    """

    def __init__(self, model: LanguageModel, rows: int, start: int, stop: Sequence[str], ends: frozenset[int]) -> None:
        self.lengths: dict[int, int] = {}
        self._model, self._start, self._stop, self._ends = model, start, stop, ends
        self._writing = set(range(rows))

    def __call__(self, input_ids: Tensor, scores: Any, **kwargs: Any) -> Tensor:
        new: list[list[int]] = input_ids[:, self._start :].tolist()
        for place in sorted(self._writing):
            row = new[place]
            if row[-1] in self._ends:
                self._writing.remove(place)
            elif until_stop(_written(self._model, row), self._stop)[1]:
                self._writing.remove(place)
                self.lengths[place] = len(row)
        done = torch.zeros(len(new), dtype=torch.bool, device=input_ids.device)
        done[list(self.lengths)] = True
        return done


class _Pulse(StoppingCriteria):  # type: ignore[misc]
    """Is asked after every token whether to stop, which it never wants, and reports about once a second."""

    def __init__(self, total: int, watch: Watch) -> None:
        self.tokens = 0
        self._examples, self._total, self._watch = 0, total, watch
        self._started = self._reported = time.monotonic()
        self._step, self._rows = 0, 0

    def __call__(self, input_ids: Tensor, scores: Any, **kwargs: Any) -> Tensor:
        self._step, self._rows = self._step + 1, len(input_ids)
        if time.monotonic() - self._reported >= _REPORT_SECONDS:
            self.report()
        return torch.zeros(len(input_ids), dtype=torch.bool, device=input_ids.device)

    def next_batch(self, done: int) -> None:
        """Note that `done` texts are written."""
        self._examples += done
        self._step = 0

    def report(self) -> None:
        """Tell the watch where things stand; the speed counts padding after texts that ended within the batch."""
        self._reported = time.monotonic()
        seconds = max(self._reported - self._started, 1e-9)
        self._watch(
            {
                "example": float(self._examples),
                "of": float(self._total),
                "step": float(self._step),
                "tokens_per_second": (self.tokens + self._step * self._rows) / seconds,
            }
        )
