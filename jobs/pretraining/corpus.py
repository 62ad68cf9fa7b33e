"""Text for pretraining the embedded backbone: its languages, its tokenizer, and batches for MLM and TLM."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from random import Random

import torch
from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import PreTrainedTokenizerFast

from jobs.data import cldr

LANGUAGES: tuple[str, ...] = (
    "en", "es", "pt", "fr", "it", "ro", "de", "nl", "sv", "da", "pl", "cs", "hr", "sl", "ru", "bg", "sr", "lt", "lv",
    "et", "fi", "hu", "el", "tr", "az", "kk", "mn", "hi", "bn", "gu", "ta", "ar", "fa", "ur", "he", "ka", "zh", "th",
    "vi", "id", "sw", "zu", "ga", "cy", "eu", "sq",
)  # fmt: skip
RELATED: tuple[tuple[str, str], ...] = (
    ("es", "pt"), ("es", "fr"), ("es", "it"), ("fr", "it"), ("de", "nl"), ("sv", "da"), ("pl", "cs"), ("ru", "bg"),
    ("ru", "pl"), ("hr", "sr"), ("hr", "sl"), ("hi", "gu"), ("hi", "bn"), ("hi", "ur"), ("ar", "fa"), ("tr", "az"),
    ("kk", "tr"), ("lt", "lv"), ("et", "fi"), ("pt", "it"), ("ru", "sr"), ("es", "ro"),
)  # fmt: skip
PIVOT = "en"
BOS, PAD, EOS, UNK, MASK = 0, 1, 2, 3, 4
SPECIAL = ("<s>", "<pad>", "</s>", "<unk>", "<mask>")
VOCABULARY = 8000
MAX_LENGTH = 128
MASKED_SHARE = 0.15


@dataclass(frozen=True)
class PretrainingBatch:
    """Token ids and attention mask of shape (rows, length); `labels` holds the true ids of the masked positions."""

    input_ids: torch.Tensor
    attention_mask: torch.Tensor
    masked: torch.Tensor
    labels: torch.Tensor


def related_pairs(languages: Sequence[str]) -> list[tuple[str, str]]:
    """Pairs for translation LM: English with every language, and close relatives with each other."""
    pairs = [(PIVOT, code) for code in languages if code != PIVOT and PIVOT in languages]
    return pairs + [pair for pair in RELATED if set(pair) <= set(languages)]


def train_tokenizer(languages: Sequence[str], size: int = VOCABULARY) -> PreTrainedTokenizerFast:
    """A unigram tokenizer with byte fallback, trained on the training corpora of `languages` alone."""
    draft = Tokenizer(models.Unigram())
    spaces = pre_tokenizers.Metaspace()
    draft.normalizer = normalizers.Sequence([normalizers.NFC(), normalizers.Replace(Regex(r"\s+"), " ")])
    draft.pre_tokenizer = pre_tokenizers.Sequence([spaces, pre_tokenizers.Digits(individual_digits=True)])
    trainer = trainers.UnigramTrainer(
        vocab_size=size - 256, special_tokens=list(SPECIAL), unk_token=SPECIAL[UNK], max_piece_length=12
    )
    draft.train_from_iterator((text for code in languages for text in cldr.corpus(code, "train")), trainer)
    pieces = [(piece, score) for piece, score in _scored(draft) if piece not in SPECIAL]
    lowest = min(score for _, score in pieces) - 10.0
    known = [(token, 0.0) for token in SPECIAL] + [(f"<0x{byte:02X}>", lowest) for byte in range(256)] + pieces
    tokenizer = Tokenizer(models.Unigram(known, unk_id=UNK, byte_fallback=True))
    tokenizer.normalizer, tokenizer.pre_tokenizer = draft.normalizer, draft.pre_tokenizer
    tokenizer.decoder = decoders.Sequence([decoders.ByteFallback(), decoders.Metaspace()])
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", pair="<s> $A </s> </s> $B </s>", special_tokens=[("<s>", BOS), ("</s>", EOS)]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token="<s>", cls_token="<s>", eos_token="</s>", sep_token="</s>", pad_token="<pad>", unk_token="<unk>",
        mask_token="<mask>", model_max_length=MAX_LENGTH, model_input_names=["input_ids", "attention_mask"],
    )  # fmt: skip


def _scored(tokenizer: Tokenizer) -> list[tuple[str, float]]:
    """Pieces and log probabilities of a trained unigram model."""
    return [(piece, score) for piece, score in json.loads(tokenizer.to_str())["model"]["vocab"]]


class PretrainingStream:
    """An endless, random-access order of batches: what comes at a step depends on the step and the seed alone."""

    def __init__(self, rows: Sequence[Sequence[int]], token_budget: int, vocabulary_size: int, seed: str) -> None:
        """Batch `rows` of token ids so that rows times length stays within `token_budget`."""
        self.rows, self.token_budget, self.seed = rows, token_budget, seed
        self.vocabulary_size = vocabulary_size
        self.epoch = lru_cache(maxsize=1)(self._epoch)
        self.count = len(self.epoch(0))

    def _epoch(self, number: int) -> list[list[int]]:
        """The batches of one epoch, as row numbers: shuffled, sorted by length in big chunks, cut, shuffled."""
        random = Random(f"{self.seed}-{number}")
        order = list(range(len(self.rows)))
        random.shuffle(order)
        order.sort(key=lambda row: len(self.rows[row]))  # stable: rows of one length stay shuffled
        batches: list[list[int]] = [[]]
        for row in order:
            if len(self.rows[row]) * (len(batches[-1]) + 1) > self.token_budget:
                batches.append([])
            batches[-1].append(row)
        random.shuffle(batches)
        return batches

    def batch(self, step: int) -> PretrainingBatch:
        """The masked batch of this stream's `step`."""
        epochs = self.epoch(step // self.count)
        chosen = epochs[step % len(epochs)]
        generator = torch.Generator().manual_seed(Random(f"{self.seed}-mask-{step}").getrandbits(60))
        return masked_batch([self.rows[row] for row in chosen], self.vocabulary_size, generator)


def masked_batch(rows: Sequence[Sequence[int]], vocabulary_size: int, generator: torch.Generator) -> PretrainingBatch:
    """Rows padded, 15 % of their tokens chosen, 80 % of which read <mask>, 10 % a random token, 10 % themselves."""
    width = max(map(len, rows))
    ids = torch.full((len(rows), width), PAD)
    for index, row in enumerate(rows):
        ids[index, : len(row)] = torch.tensor(row)
    attention = (ids != PAD).long()
    candidates = ids > MASK
    masked = (torch.rand(ids.shape, generator=generator) < MASKED_SHARE) & candidates
    if not masked.any():
        masked = candidates
    labels = ids[masked]
    fate = torch.rand(labels.shape, generator=generator)
    noise = torch.randint(len(SPECIAL), vocabulary_size, labels.shape, generator=generator)
    shown = torch.where(fate < 0.8, torch.full_like(labels, MASK), torch.where(fate < 0.9, noise, labels))
    ids[masked] = shown
    return PretrainingBatch(ids, attention, masked, labels)


def encode_lines(tokenizer: PreTrainedTokenizerFast, lines: Sequence[str]) -> list[list[int]]:
    """Token ids of lines, cut at MAX_LENGTH."""
    encoded: list[list[int]] = tokenizer(list(lines), truncation=True, max_length=MAX_LENGTH)["input_ids"]
    return encoded


def monolingual(tokenizer: PreTrainedTokenizerFast, languages: Sequence[str]) -> Iterator[list[int]]:
    """Rows for masked LM."""
    for code in languages:
        yield from encode_lines(tokenizer, cldr.corpus(code, "train"))


def bilingual(tokenizer: PreTrainedTokenizerFast, languages: Sequence[str]) -> Iterator[list[int]]:
    """Rows for translation LM: `<s> a </s></s> b </s>`, in either order."""
    for a, b in related_pairs(languages):
        pairs = [(x, y) if index % 2 else (y, x) for index, (x, y) in enumerate(cldr.parallel(a, b))]
        first, second = [x for x, _ in pairs], [y for _, y in pairs]
        yield from tokenizer(first, second, truncation="longest_first", max_length=MAX_LENGTH)["input_ids"]
