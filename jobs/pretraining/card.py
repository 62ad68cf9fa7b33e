"""The model card of the embedded backbone: what it has seen, and its held-out loss on languages seen and unseen."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch.nn.functional import cross_entropy
from transformers import PreTrainedTokenizerFast, XLMRobertaForMaskedLM

from jobs.data import cldr
from jobs.pretraining import corpus as text

UNSEEN_SHOWN: tuple[str, ...] = (
    "gl", "ca", "uk", "mr", "ast", "oc", "sk", "be", "mk", "bs", "no", "is", "af", "lb", "fy", "ne", "as", "pa", "kn",
    "te", "ml", "ky", "uz", "tt", "ps", "sd", "ms", "jv", "gd", "yue", "hy", "ko", "am",
)  # fmt: skip

CARD = """\
---
license: apache-2.0
library_name: transformers
tags: [masked-lm, xlm-roberta, cldr]
---
# cldr-mini

An encoder of {parameters:,} parameters in the architecture of XLM-R, small enough to train adapters on in seconds. It
knows the names and phrases that the Unicode CLDR holds (territories, languages, scripts, currencies, cities, dates,
numbers, units) and nothing else. It makes experiments with language adapters quick; it is no general language model.

| | |
|---|---|
| layers, hidden size, heads | {layers}, {hidden_size}, {heads} |
| vocabulary | {vocabulary:,} unigram pieces with byte fallback, trained on the languages seen |
| longest input | {longest} tokens |
| data | `jobs.data.cldr` {data_revision}, training split |
| objectives | masked LM and translation LM (XLM), one step of each in turn |
| optimizer steps | {optimizer_steps:,} of about {token_budget:,} tokens; {tokens:,} tokens in all |
| optimizer | AdamW, peak learning rate {learning_rate}, {warmup_steps:,} warm-up steps, cosine decay \
towards step {horizon:,}, linear cool-down to zero over the last {cooldown_steps:,} steps, seed {seed} |

## Languages seen ({count})
{seen}

Translation LM saw these pairs: English with each of them, and {pairs}.

## Languages held out
Every other language. No line of them was used for the tokenizer, for masked LM or for translation LM.

## Masked-LM loss on held-out text
Nats per masked token on the validation split of each language's corpus, 15 % masked. Losses of different languages
count different pieces and do not compare with each other; the same language with another adapter does.

### Seen
{seen_table}

### Unseen (a selection)
{unseen_table}

## How to repeat
`python -m jobs.pretraining.pretrain --out DIR --tokenizer jobs/backbones/cldr-mini` with the same versions on the same
kind of machine. The tokenizer is taken from here because `tokenizers` does not train a unigram model twice to the same
pieces. Settings: `{settings}`.

The CLDR is published by Unicode under the Unicode License V3.
"""


@dataclass(frozen=True)
class Trained:
    """Tokens seen in training, padding included, and the unseen languages that the card shows losses of."""

    tokens: int
    unseen_shown: Sequence[str] = UNSEEN_SHOWN


@torch.no_grad()
def held_out_loss(model: XLMRobertaForMaskedLM, tokenizer: PreTrainedTokenizerFast, language: str) -> float:
    """Mean cross entropy in nats on the masked tokens of the language's validation lines; the masks never change."""
    model.eval()
    rows = sorted(text.encode_lines(tokenizer, cldr.corpus(language, "validation")), key=len)
    total, count = 0.0, 0
    for start in range(0, len(rows), 64):
        generator = torch.Generator().manual_seed(start)
        batch = text.masked_batch(rows[start : start + 64], model.config.vocab_size, generator)
        hidden = model.roberta(batch.input_ids, attention_mask=batch.attention_mask).last_hidden_state
        total += float(cross_entropy(model.lm_head(hidden[batch.masked]), batch.labels, reduction="sum"))
        count += len(batch.labels)
    return total / count


def table(losses: Mapping[str, float], columns: int = 8) -> str:
    """Losses as a Markdown table of language codes over values."""
    cells = list(losses.items())
    lines = []
    for start in range(0, len(cells), columns):
        row = cells[start : start + columns] + [("", float("nan"))] * (columns - len(cells[start : start + columns]))
        lines.append("| " + " | ".join(f"{code} {loss:.2f}" if code else "" for code, loss in row) + " |")
        if start == 0:
            lines.append("|" + "---|" * columns)
    return "\n".join(lines)


def write_card(
    out: Path,
    model: XLMRobertaForMaskedLM,
    tokenizer: PreTrainedTokenizerFast,
    settings: Mapping[str, object],
    trained: Trained,
) -> None:
    """Measure the losses and write `README.md` and `languages.json` (seen, and losses) to `out`."""
    seen: Sequence[str] = tuple(map(str, settings["languages"]))  # type: ignore[call-overload]
    shown = (*seen, *(code for code in trained.unseen_shown if code not in seen))
    losses = {code: held_out_loss(model, tokenizer, code) for code in shown}
    card = card_text(settings, model.num_parameters(), trained.tokens, losses)
    (out / "README.md").write_text(card, encoding="utf-8")
    rounded = {code: round(loss, 4) for code, loss in losses.items()}
    facts = {"seen": list(seen), "masked_lm_loss": rounded}
    (out / "languages.json").write_text(json.dumps(facts, indent=1) + "\n", encoding="utf-8")


def card_text(settings: Mapping[str, object], parameters: int, tokens: int, losses: Mapping[str, float]) -> str:
    """The card in Markdown."""
    seen: Sequence[str] = tuple(map(str, settings["languages"]))  # type: ignore[call-overload]
    plain = {key: value for key, value in settings.items() if key != "languages"}
    pairs = [f"{a}-{b}" for a, b in text.related_pairs(seen) if a != text.PIVOT]
    return CARD.format(
        **plain,
        parameters=parameters,
        tokens=tokens,
        longest=text.MAX_LENGTH,
        count=len(seen),
        seen=" ".join(seen),
        pairs=" ".join(pairs) or "no others",
        seen_table=table({code: loss for code, loss in losses.items() if code in seen}),
        unseen_table=table({code: loss for code, loss in losses.items() if code not in seen}),
        settings=json.dumps(plain),
    )
