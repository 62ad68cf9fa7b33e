"""Pretrain the embedded backbone: `python -m jobs.pretraining.pretrain --out DIR`.

A small XLM-R-architecture encoder, trained from scratch on CLDR text by masked LM (Devlin et al., 2019) and translation
LM (Conneau and Lample, 2019), one step of each in turn. What happens at a step depends on the seed and the step alone,
so a run that was killed goes on from its checkpoint to the weights an undisturbed run would have reached.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from torch.nn.functional import cross_entropy
from transformers import PreTrainedTokenizerFast, XLMRobertaConfig, XLMRobertaForMaskedLM

from jobs.data import cldr
from jobs.models.files import ModelFiles, fast_tokenizer
from jobs.pretraining import corpus as text
from jobs.pretraining.card import UNSEEN_SHOWN, Trained, write_card
from jobs.pretraining.run import ResumableRun, write_atomically

ROWS = "rows.pt"


@dataclass(frozen=True)
class PretrainSettings:
    """All that decides the weights; the same settings give the same weights on one machine."""

    languages: tuple[str, ...] = text.LANGUAGES
    optimizer_steps: int = 17_000
    horizon: int = 28_000
    cooldown_steps: int = 4_700
    token_budget: int = 2048
    learning_rate: float = 2e-3
    warmup_steps: int = 1000
    hidden_size: int = 128
    layers: int = 4
    heads: int = 4
    vocabulary: int = text.VOCABULARY
    seed: int = 7
    data_revision: str = cldr.REVISION


def build_model(settings: PretrainSettings) -> XLMRobertaForMaskedLM:
    """The encoder with freshly drawn weights."""
    torch.manual_seed(settings.seed)
    config = XLMRobertaConfig(
        vocab_size=settings.vocabulary,
        hidden_size=settings.hidden_size,
        num_hidden_layers=settings.layers,
        num_attention_heads=settings.heads,
        intermediate_size=4 * settings.hidden_size,
        max_position_embeddings=text.MAX_LENGTH + 2,  # positions start after the padding id
        type_vocab_size=1,
        hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0,
        bos_token_id=text.BOS,
        pad_token_id=text.PAD,
        eos_token_id=text.EOS,
    )
    model: XLMRobertaForMaskedLM = XLMRobertaForMaskedLM(config)
    return model


def masked_loss(model: XLMRobertaForMaskedLM, batch: text.PretrainingBatch) -> torch.Tensor:
    """Mean cross entropy in nats over the masked positions; the LM head sees only those."""
    hidden = model.roberta(batch.input_ids, attention_mask=batch.attention_mask).last_hidden_state
    return cross_entropy(model.lm_head(hidden[batch.masked]), batch.labels)


def rate(settings: PretrainSettings, step: int) -> float:
    """The learning rate of a step: linear warm-up, half a cosine towards `horizon`, at the end a linear cool-down.

    The cosine alone would need `horizon` steps to come to a hundredth; the cool-down takes the last `cooldown_steps`
    of `optimizer_steps` from wherever the cosine is to zero.
    """
    if step < settings.warmup_steps:
        return settings.learning_rate * (step + 1) / settings.warmup_steps
    begin = settings.optimizer_steps - settings.cooldown_steps
    done = (min(step, begin) - settings.warmup_steps) / max(1, settings.horizon - settings.warmup_steps)
    cosine = settings.learning_rate * (0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * done)))
    return cosine * min(1.0, (settings.optimizer_steps - step) / max(1, settings.cooldown_steps))


class Pretraining(ResumableRun):
    """One run in a working directory, resumable at every checkpoint."""

    settings: PretrainSettings

    def __init__(self, settings: PretrainSettings, work: Path) -> None:
        """Prepare tokenizer, rows and model under `work`, or take up what is there."""
        super().__init__(settings, work)
        self.tokenizer = self._tokenizer()
        monolingual, bilingual = self._rows()
        budget, size = settings.token_budget, settings.vocabulary
        self.streams = (
            text.PretrainingStream(monolingual, budget, size, f"{settings.seed}-mlm"),
            text.PretrainingStream(bilingual, budget, size, f"{settings.seed}-tlm"),
        )
        self.model = build_model(settings)
        decayed = [p for p in self.model.parameters() if p.ndim > 1]
        plain = [p for p in self.model.parameters() if p.ndim <= 1]
        groups = [{"params": decayed, "weight_decay": 0.01}, {"params": plain, "weight_decay": 0.0}]
        self.optimizer = torch.optim.AdamW(groups, betas=(0.9, 0.98))
        self.resume()

    def _tokenizer(self) -> PreTrainedTokenizerFast:
        where = self.work / "tokenizer"
        if not where.is_dir():
            partial = self.work / "tokenizer.partial"
            text.train_tokenizer(self.settings.languages, self.settings.vocabulary).save_pretrained(partial)
            partial.replace(where)
        tokenizer: PreTrainedTokenizerFast = fast_tokenizer(ModelFiles(where, str(where)))
        return tokenizer

    def _rows(self) -> tuple[list[list[int]], list[list[int]]]:
        path = self.work / ROWS
        if not path.is_file():
            languages = self.settings.languages
            rows = [list(make(self.tokenizer, languages)) for make in (text.monolingual, text.bilingual)]
            write_atomically(rows, path)
        mono, two = torch.load(path, weights_only=True)
        return mono, two

    def trained(self) -> Mapping[str, torch.Tensor]:
        """The whole model."""
        state: Mapping[str, torch.Tensor] = self.model.state_dict()
        return state

    def advance(self) -> Mapping[str, float]:
        """One step of masked LM and one of translation LM; their losses."""
        self.model.train()
        losses = []
        for stream in self.streams if self.streams[1].count else self.streams[:1]:
            for group in self.optimizer.param_groups:
                group["lr"] = rate(self.settings, self.step)
            batch = stream.batch(self.step // 2)
            loss = masked_loss(self.model, batch)
            torch.autograd.backward(loss)
            torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
            self.optimizer.step()
            self.optimizer.zero_grad(set_to_none=True)
            self.step += 1
            self.tokens += batch.input_ids.numel()
            losses.append(float(loss.detach()))
        return {"mlm": losses[0], "tlm": losses[-1]}

    def export(self, out: Path, unseen_shown: Sequence[str] = UNSEEN_SHOWN) -> None:
        """Write weights (single precision), config, tokenizer and a card with the losses of some unseen languages."""
        out.mkdir(parents=True, exist_ok=True)
        self.model.save_pretrained(out, safe_serialization=True)
        self.tokenizer.save_pretrained(out)
        write_card(out, self.model, self.tokenizer, asdict(self.settings), Trained(self.tokens, unseen_shown))


def main(arguments: list[str] | None = None) -> None:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="python -m jobs.pretraining.pretrain", description="Pretrain the embedded backbone."
    )
    parser.add_argument("--out", type=Path, required=True, help="where the finished backbone goes")
    parser.add_argument("--work", type=Path, help="checkpoints (default: OUT with .work behind it)")
    parser.add_argument("--checkpoint-seconds", type=float, default=180.0, help="time between checkpoints")
    parser.add_argument("--optimizer-steps", type=int, default=PretrainSettings.optimizer_steps)
    parser.add_argument("--languages", nargs="+", default=list(PretrainSettings.languages), metavar="CODE")
    parser.add_argument("--unseen", nargs="+", default=list(UNSEEN_SHOWN), metavar="CODE", help="shown on the card")
    parser.add_argument("--tokenizer", type=Path, help="take the tokenizer of this directory instead of training one")
    parser.add_argument("--vocabulary", type=int, default=PretrainSettings.vocabulary, help="pieces of the tokenizer")
    parser.add_argument("--hidden-size", type=int, default=PretrainSettings.hidden_size)
    parser.add_argument("--layers", type=int, default=PretrainSettings.layers)
    parser.add_argument("--learning-rate", type=float, default=PretrainSettings.learning_rate)
    options = parser.parse_args(arguments)
    settings = PretrainSettings(
        languages=tuple(options.languages),
        optimizer_steps=options.optimizer_steps,
        learning_rate=options.learning_rate,
        warmup_steps=min(PretrainSettings.warmup_steps, max(1, options.optimizer_steps // 10)),
        cooldown_steps=min(PretrainSettings.cooldown_steps, options.optimizer_steps // 3),
        hidden_size=options.hidden_size,
        layers=options.layers,
        vocabulary=options.vocabulary,
    )
    work = options.work or options.out.with_name(options.out.name + ".work")
    work.mkdir(parents=True, exist_ok=True)
    if options.tokenizer is not None:
        given_tokenizer = fast_tokenizer(ModelFiles(options.tokenizer, str(options.tokenizer)))
        given_tokenizer.save_pretrained(work / "tokenizer")
    run = Pretraining(settings, work)
    run.run(options.checkpoint_seconds)
    run.export(options.out, options.unseen)


if __name__ == "__main__":
    main()
