"""The campaign file's adapters: what is trained for a language and for a task, and how."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from jobs.spec import (
    Accumulation,
    AdapterConfig,
    Batching,
    BestBy,
    BottleneckConfig,
    Ia3Config,
    LokrConfig,
    LoraConfig,
    Objective,
    PrefixConfig,
    SchedulerType,
    TrainingConfig,
)
from orchestrator.campaign.fields import Positive, Seed, Share, StrictModel, check_inside, check_pinned

Activation = Literal["gelu_new", "gelu", "relu", "swish", "tanh"]
KINDS = ("lora", "ia3", "kronecker", "prefix")
Modules = Annotated[tuple[str, ...], Field(min_length=1)]
Count = Annotated[int, Field(ge=0)]
LENGTHS = ("optimizer_steps", "epochs")


class TrainingFields(StrictModel):
    """What may be said of a training; see jobs.spec.TrainingConfig."""

    optimizer_steps: Positive | None = Field(None, description="length of the training; or give `epochs`")
    epochs: Positive | None = Field(None, description="length in passes over the data; or give `optimizer_steps`")
    batch_size: Positive = 16
    gradient_accumulation: Positive = 1
    learning_rate: Annotated[float, Field(gt=0)] = 1e-4
    max_length: Annotated[int, Field(ge=8)] = 128
    warmup_ratio: Share = 0.0
    lr_scheduler_type: SchedulerType = "linear"
    weight_decay: Annotated[float, Field(ge=0)] = 0.0
    max_grad_norm: Annotated[float, Field(ge=0)] = Field(1.0, description="longest gradient; 0: never clipped")
    mask_probability: Annotated[float, Field(gt=0, lt=1)] = 0.15
    evaluate_every: Positive | Literal["epoch"] = Field(100, description="optimizer steps, or epoch")
    evaluation_examples: Count = Field(1000, description="validation data that choose the checkpoint; 0: all")
    patience: Annotated[int, Field(ge=0)] = 0
    max_tokens: Count = 0
    best_by: BestBy = Field("loss", description="prompted tasks: keep the lowest loss or the best metric")
    backbone_dropout: Annotated[float, Field(ge=0, lt=1)] = Field(
        0.0, description="bottleneck adapters: dropout of the frozen backbone; the published script leaves 0.1 on"
    )
    batching: Batching = Field("by_length", description="shuffled: batches of any rows, as the published scripts make")

    @model_validator(mode="after")
    def _one_length(self) -> Self:
        if self.optimizer_steps is not None and self.epochs is not None:
            raise ValueError("give `optimizer_steps` or `epochs`, not both")
        return self


class TrainingSection(TrainingFields):
    """How each adapter is trained, and for how long."""

    @model_validator(mode="after")
    def _some_length(self) -> Self:
        if self.optimizer_steps is None and self.epochs is None:
            raise ValueError("a length is missing: give `optimizer_steps` or `epochs`")
        return self

    @property
    def config(self) -> TrainingConfig:
        """The same values as specs know them."""
        return training_config(self.model_dump())


class TaskTrainingSection(TrainingSection):
    """How task adapters are trained: their checkpoints are chosen on all validation data, unless a limit is given."""

    evaluation_examples: Count = Field(0, description="validation data that choose the checkpoint; 0: all")

    def config_for(self, own: TrainingFields | None) -> TrainingConfig:
        """The values of one task, whose `own` settings stand in place of these, field by field."""
        given = own.model_dump(include=own.model_fields_set) if own else {}
        base = self.model_dump(exclude=set(LENGTHS) if given.keys() & set(LENGTHS) else set())
        return training_config({**base, **given})


def training_config(values: Mapping[str, Any]) -> TrainingConfig:
    """The values of a file's section as specs know them."""
    lengths = {name: values.get(name) or 0 for name in LENGTHS}
    every = 0 if values["evaluate_every"] == "epoch" else values["evaluate_every"]
    # Said where it changes anything: so adapters of one batch a step are those of earlier versions.
    several: Accumulation = "labels" if values["gradient_accumulation"] > 1 else "batches"
    return TrainingConfig(**{**values, **lengths, "evaluate_every": every, "accumulation": several})


class LoraSection(StrictModel):
    """LoRA on the named modules, as in PEFT."""

    rank: Positive
    alpha: Annotated[float, Field(ge=0)] = Field(0.0, description="scaling is alpha / rank; 0: as the rank")
    target_modules: Modules = Field(description="names of linear modules, e.g. [q_proj, k_proj, v_proj, o_proj]")
    dropout: Annotated[float, Field(ge=0, lt=1)] = Field(0.0, description="of A's inputs; PEFT's lora_dropout")


class Ia3Section(StrictModel):
    """(IA)3: learned factors on outputs, or on inputs for the feed-forward modules."""

    target_modules: Modules
    feedforward_modules: tuple[str, ...] = ()

    @model_validator(mode="after")
    def _contained(self) -> Ia3Section:
        if extra := [name for name in self.feedforward_modules if name not in self.target_modules]:
            raise ValueError(f"feedforward_modules must be among target_modules: {', '.join(extra)}")
        return self


class KroneckerSection(StrictModel):
    """Kronecker adapter (LoKr in PEFT): `factor` is the size that the first factor aims at."""

    factor: Positive
    target_modules: Modules


class PrefixSection(StrictModel):
    """Prefix tuning: `length` learned keys and values before each layer's own."""

    length: Positive


class ForeignAdapterSection(StrictModel):
    """An adapter that others trained, of AdapterHub's format or PEFT's: a directory, a repository of the model hub at a
    commit, or a model of the campaign's MLflow registry.
    """

    path: str = Field("", description="directory of one adapter")
    hub: str = Field("", description="repository on the model hub, with `revision`")
    revision: str = Field("", description="commit on the hub, 40 hex digits")
    directory: str = Field("", description="folder of the repository, where the adapter is not at its top")
    registry: str = Field("", description="models:/NAME@ALIAS or models:/NAME/VERSION")
    base: str = Field(
        "", description="the base model that its file names, where that is the campaign's backbone under another name"
    )

    @model_validator(mode="after")
    def _one_place(self) -> ForeignAdapterSection:
        if len([place for place in (self.path, self.hub, self.registry) if place]) != 1:
            raise ValueError("give one of `path`, `hub`, `registry`")
        if self.hub:
            check_pinned(self.hub, self.revision)
        if not self.hub and (self.revision or self.directory):
            raise ValueError("`revision` and `directory` belong to `hub`")
        check_inside(self.directory)
        if self.registry and not re.fullmatch(r"models:/[^/@]+(@[^/@]+|/\d+)", self.registry):
            raise ValueError("`registry` is models:/NAME@ALIAS or models:/NAME/VERSION")
        return self

    @property
    def source(self) -> str:
        """Where it comes from, in a word."""
        folder = f"/{self.directory}" if self.directory else ""
        return self.path or self.registry or f"{self.hub}{folder}@{self.revision}"


class LanguageAdapterSection(StrictModel):
    """A language's adapter: `lora`, `ia3`, `kronecker` or `prefix`, else MAD-X: a bottleneck with NICE.

    All adapters of a campaign share one initialization.
    """

    lora: LoraSection | None = None
    ia3: Ia3Section | None = None
    kronecker: KroneckerSection | None = None
    prefix: PrefixSection | None = None
    reduction_factor: Positive = 2
    invertible_reduction_factor: Positive = 2
    non_linearity: Activation = "gelu_new"
    leave_out: tuple[Count, ...] | Literal["last"] = Field(
        (), description="bottlenecks: layers without one, counted from 0; last: as MAD-X 2.0"
    )
    init_seed: Seed = 42
    objective: Objective = Field("masked-lm", description="causal-lm and prefix-lm: decoders and T5-like backbones")
    training: TrainingSection

    @model_validator(mode="after")
    def _one_kind(self) -> LanguageAdapterSection:
        named = [kind for kind in KINDS if getattr(self, kind) is not None]
        if len(named) > 1:
            raise ValueError(f"one kind of adapter, not {' and '.join(named)}")
        own = {"reduction_factor", "invertible_reduction_factor", "non_linearity", "leave_out"}
        bottleneck = own & self.model_fields_set
        if named and bottleneck:
            raise ValueError(
                f"{', '.join(sorted(bottleneck))} belong to bottleneck adapters: leave out beside {named[0]}"
            )
        return self

    @property
    def kind(self) -> str:
        """The name of the section that says the shape, or bottleneck."""
        return next((kind for kind in KINDS if getattr(self, kind) is not None), "bottleneck")

    @property
    def stacked(self) -> bool:
        """Whether task adapters are stacked on language adapters (bottlenecks), not merged with them."""
        return isinstance(self.config, BottleneckConfig)

    @property
    def config(self) -> AdapterConfig:
        """The adapter's shape, as specs know it."""
        if self.lora:
            alpha = self.lora.alpha or float(self.lora.rank)
            return LoraConfig(self.lora.rank, alpha, self.lora.target_modules, self.init_seed, self.lora.dropout)
        if self.ia3:
            return Ia3Config(self.ia3.target_modules, self.ia3.feedforward_modules)
        if self.kronecker:
            return LokrConfig(self.kronecker.factor, self.kronecker.target_modules, self.init_seed)
        if self.prefix:
            return PrefixConfig(self.prefix.length, self.init_seed)
        return BottleneckConfig(
            self.reduction_factor,
            self.invertible_reduction_factor,
            self.non_linearity,
            self.init_seed,
            leave_out=(-1,) if self.leave_out == "last" else tuple(sorted(set(self.leave_out))),
        )


class TaskAdapterSection(StrictModel):
    """A task's adapter: a bottleneck stacked on the source language's, or else one of the language adapters' shape."""

    reduction_factor: Positive = 16
    non_linearity: Activation = "gelu_new"
    init_seed: Seed = 42
    training: TaskTrainingSection

    def config(self, language: LanguageAdapterSection) -> AdapterConfig:
        """The adapter's shape. Adapters that are merged with language adapters have their shape."""
        if language.stacked:
            return BottleneckConfig(self.reduction_factor, 0, self.non_linearity, self.init_seed)
        return language.config
