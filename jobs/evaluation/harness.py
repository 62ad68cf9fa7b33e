"""Tasks of lm-evaluation-harness on the warm model: its requests and metrics, our pass, and the adapters in place.

The harness tokenizes, cuts windows, ends texts and makes the metrics, so that its figures are the ones that `lm_eval`
gives for the exported adapter; requests are rendered and tokenized once, whatever is scored on them.
"""

from __future__ import annotations

import contextlib
import io
import re
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lm_eval.models.huggingface import HFLM
from torch import Tensor

from jobs.adapters.adapter import LOW_RANK_KINDS, Adapter
from jobs.errors import Fault, InputError
from jobs.evaluation.harness_tasks import harness_task
from jobs.evaluation.prompted import LanguageScore
from jobs.models.language_model import LanguageModel
from jobs.models.peft.model import applied_adapters, predicting_states
from jobs.runtime.library_faults import library_faults
from jobs.scoring.metrics import EXAMPLES, NEGATIVE_LOG, TEXT_COLUMNS, Statistics, metric_over, metrics_of
from jobs.spec import TaskRef, metric_of
from jobs.tokens.batches import Example
from jobs.tokens.evaluation_sets import EvaluationSet, by_length, check_length
from jobs.tokens.lm_batches import collate

# Padded tokens of a batch whose continuations are weighed; texts that are written at once.
_TOKENS = {"cpu": 2048, "cuda": 65_536}
_TEXTS = {"cpu": 8, "cuda": 64}
_HEAD_ROWS = 256
_PROBE_TOKENS = 32
_MEANS = ("acc", "acc_norm", "acc_bytes", "acc_mutual_info", "exact_match")
Weighed = tuple[Any, list[int], list[int]]  # what was asked, in tokens: before, and that which is weighed


class WarmModel(HFLM):  # type: ignore[misc]
    """The harness's own model class around a model that is loaded already; whatever adapters are applied act."""

    def __init__(self, model: LanguageModel, max_length: int) -> None:
        """`max_length`: the longest row in tokens, 0 for as much as the model reads."""
        self.warm = model
        self.cut: set[Any] = set()  # what was asked in more tokens than a row has
        self._ids: dict[Any, Any] = {}
        super().__init__(
            pretrained=model.model,
            tokenizer=model.tokenizer,
            backend="causal",
            max_length=max_length or model.max_length,
            batch_size=_TEXTS[model.device.type],
        )

    def tok_encode(self, string: str, *args: Any, **kwargs: Any) -> list[int]:
        """As the harness does it, once for each text."""
        key = (string, args, tuple(kwargs.items()))
        if key not in self._ids:
            self._ids[key] = super().tok_encode(string, *args, **kwargs)
        ids: list[int] = self._ids[key]
        return ids

    def tok_batch_encode(self, strings: Sequence[str], *args: Any, **kwargs: Any) -> tuple[Tensor, Tensor]:
        """As the harness does it, once for each batch."""
        key = (tuple(strings), args, tuple(kwargs.items()))
        if key not in self._ids:
            room = kwargs["left_truncate_len"]
            self.cut.update(text for text in strings if len(self.tok_encode(text)) > room)
            self._ids[key] = super().tok_batch_encode(list(strings), *args, **kwargs)
        ids: tuple[Tensor, Tensor] = self._ids[key]
        return ids

    def _loglikelihood_tokens(
        self, requests: Sequence[Weighed], disable_tqdm: bool = False, override_bs: int | None = None
    ) -> list[tuple[float, bool]]:
        """Log-likelihood of each continuation, and whether each of its tokens is the likeliest one.

        Requests that one row answers share it: continuations that differ in their last token alone.
        """
        rows: dict[tuple[int, ...], list[int]] = defaultdict(list)
        for number, (asked, before, weighed) in enumerate(requests):
            if len(weighed) > self.max_length:
                got, todo = f"{len(weighed)} tokens", f"the longest row has {self.max_length}"
                raise InputError(Fault("a continuation is longer than a row", got=got, todo=todo))
            if len(before) + len(weighed) > self.max_length + 1:
                self.cut.add(asked)
            rows[tuple((before + weighed)[-(self.max_length + 1) :][:-1])].append(number)
        examples = [_example(ids, [requests[number][2] for number in numbers]) for ids, numbers in rows.items()]
        owners = [np.repeat(own, [len(requests[number][2]) for number in own]) for own in rows.values()]
        sums, misses = np.zeros(len(requests)), np.zeros(len(requests))
        for chosen in by_length(np.array([len(one.ids) for one in examples]), self.warm.device, _TOKENS):
            batch = collate([[examples[place] for place in chosen]], self.warm)
            targets = np.concatenate([owners[place] for place in chosen])
            states = predicting_states(self.warm, batch)
            head = self.warm.head
            losses = head.losses(states, batch.labels).double().cpu().numpy()
            best = torch.cat([head.logits(part).argmax(-1) for part in torch.split(states, _HEAD_ROWS)])
            sums -= np.bincount(targets, losses, len(requests))
            misses += np.bincount(targets, (best != batch.labels).cpu().numpy(), len(requests))
        return [(float(value), not missed) for value, missed in zip(sums, misses, strict=True)]


def _example(ids: Sequence[int], continuations: Sequence[Sequence[int]]) -> Example:
    """A row, and the places that predict the tokens of each continuation: its last ones."""
    positions = np.concatenate([np.arange(len(ids) - len(one), len(ids)) for one in continuations])
    labels = np.concatenate([np.asarray(one, dtype=np.int64) for one in continuations])
    return Example(np.asarray(ids, dtype=np.int64), positions, labels)


@dataclass(frozen=True, slots=True, eq=False)
class HarnessSet:
    """A task's requests for one split, kept by the harness's task (`built`) itself.

    `bare`: the model's own logits [tokens, vocabulary] on `probe` [1, tokens], the first request's first tokens.
    """

    task: TaskRef
    built: Any
    model: WarmModel
    probe: Tensor
    bare: Tensor
    about: dict[str, Any]

    def score(self, adapters: Sequence[Adapter]) -> LanguageScore:
        """Let the model answer all requests with `adapters` in place, and the harness make its metrics of the answers.

        Raises InputError where adapters change no logit though their tensors say that they should, and where the
        task's metric is missing.
        """
        with applied_adapters(self.model.warm, adapters), _without_bars():
            moved = float((_logits(self.model.warm, self.probe) - self.bare).abs().max())
            if not moved and not all(map(_is_neutral, adapters)):
                todo = "the scores would be those of the bare model: were they made for it?"
                raise InputError(Fault("the adapters change no logit", f"task {self.task.name}", todo=todo))
            _answer(self.model, self.built.instances)
        self.built.apply_filters()
        chosen = self.task.filter or next(iter(self.built.instances[0].filtered_resps))
        predictions, rows = [], []
        for requests in _documents(self.built.instances):
            answers = [request.filtered_resps[chosen] for request in requests]
            rows.append(self.built.process_results(requests[0].doc, answers))
            plain = {name: float(value) for name, value in rows[-1].items() if isinstance(value, int | float)}
            predictions.append({"target": self.built.doc_to_target(requests[0].doc), "answers": answers, **plain})
        columns, statistics = _statistics(rows, self.task)
        value = float(metric_over(metric_of(self.task)[0], columns)(statistics.sum(axis=0)))
        details = {**self.about, "filter": chosen, "cut_requests": len(self.model.cut), "logit_change": moved}
        return LanguageScore(value, statistics, columns, predictions, details)


@torch.inference_mode()
def harness_set(evaluation: EvaluationSet, model: LanguageModel, cache: Path) -> HarnessSet:
    """Build the task and render its requests. No adapter may be applied.

    Raises InputError for a model that is no decoder, a `max_length` that it cannot read, and a task that cannot be
    built.
    """
    task = evaluation.task
    if model.family != "decoder":
        todo = "use a decoder: Llama, Qwen, Gemma and their like"
        raise InputError(Fault("tasks of the harness are for decoders", f"task {task.name}", model.ref.name, todo))
    check_length(evaluation.max_length, model)
    with _without_bars():
        built, rows = harness_task(evaluation.data, evaluation.split, task, cache)
        with library_faults("the task's requests cannot be made", f"task {task.name} ({evaluation.data.dataset})"):
            built.build_all_requests(samples=rows)
    warm = WarmModel(model, evaluation.max_length)
    asked = "".join(part for part in built.instances[0].args if isinstance(part, str))
    probe = torch.tensor([warm.tok_encode(asked)[:_PROBE_TOKENS]], device=model.device)
    about = {
        "harness": f"lm-eval {version('lm_eval')}",
        "harness_task": evaluation.data.dataset,
        "shots": built.config.num_fewshot,
    }
    return HarnessSet(task, built, warm, probe, _logits(model, probe), about)


def _without_bars() -> contextlib.AbstractContextManager[Any]:
    """The harness draws bars that cannot be switched off; what is wrong is raised."""
    return contextlib.redirect_stderr(io.StringIO())


def _logits(model: LanguageModel, ids: Tensor) -> Tensor:
    found: Tensor = model.model(input_ids=ids, use_cache=False).logits[0].float()
    return found


def _answer(model: WarmModel, requests: Sequence[Any]) -> None:
    """Put the model's answers into the requests, in place of those under the adapters before."""
    kinds: dict[str, list[Any]] = defaultdict(list)
    for request in requests:
        request.resps, request.filtered_resps = [], {}
        kinds[request.request_type] += [request] * request.repeats
    for kind, asked in kinds.items():
        for answer, request in zip(getattr(model, kind)(asked), asked, strict=True):
            request.resps.append(answer)


def _documents(requests: Sequence[Any]) -> list[list[Any]]:
    """The requests of each document, in the order of its choices."""
    found: dict[int, list[Any]] = defaultdict(list)
    for request in requests:
        found[request.doc_id].append(request)
    return [sorted(own, key=lambda request: request.idx) for own in found.values()]


def _statistics(rows: Sequence[dict[str, Any]], task: TaskRef) -> tuple[tuple[str, ...], Statistics]:
    """What the task's metrics are made of, a row a document: points of shares, likelihoods, counted words and bytes."""
    wanted = metric_of(task)[0]
    if wanted not in rows[0]:
        todo = f"it gives {', '.join(rows[0])}"
        raise InputError(Fault("the task does not give this metric", f"task {task.name}", wanted, todo))
    if wanted in metrics_of(TEXT_COLUMNS):
        return TEXT_COLUMNS, np.array([_text_row(row) for row in rows])
    means = [name for name in _MEANS if name in rows[0]]
    logs = ["perplexity"] if "perplexity" in rows[0] else []
    table = [
        [1.0, *(100.0 * float(row[name]) for name in means), *(-float(row[name]) for name in logs)] for row in rows
    ]
    return (EXAMPLES, *means, *(NEGATIVE_LOG for _ in logs)), np.array(table)


def _text_row(row: dict[str, Any]) -> list[float]:
    """Of a text: its negative log-likelihood in nats, its words and its bytes, as far as its metrics tell."""
    log, words = row.get("word_perplexity", (None, 0))
    own, length = row.get("byte_perplexity", row.get("bits_per_byte", (log, 0)))
    return [-float(own), float(words), float(length)]


def _is_neutral(adapter: Adapter) -> bool:
    """Whether its tensors say that it changes nothing, as those of an initial LoRA do."""
    if adapter.kind == "ia3":
        return all(bool((tensor == 1).all()) for tensor in adapter.tensors.values())
    if adapter.kind not in LOW_RANK_KINDS:
        return False
    products: dict[str, bool] = defaultdict(bool)
    for name, tensor in adapter.tensors.items():
        products[re.split(r"\.(?:lora|lokr)_", name)[0]] |= not bool(tensor.any())
    return all(products.values())
