"""The campaign file's adapters: what is trained for a language and for a task, and how."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from jobs.spec import (
    AdapterConfig,
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
from orchestrator.campaign.fields import Positive, Share, StrictModel

Activation = Literal["gelu_new", "gelu", "relu", "swish", "tanh"]
KINDS = ("lora", "ia3", "kronecker", "prefix")
Modules = Annotated[tuple[str, ...], Field(min_length=1)]


class TrainingSection(StrictModel):
    """How each adapter is trained; see jobs.spec.TrainingConfig."""

    optimizer_steps: Positive
    batch_size: Positive = 16
    gradient_accumulation: Positive = 1
    learning_rate: Annotated[float, Field(gt=0)] = 1e-4
    max_length: Annotated[int, Field(ge=8)] = 128
    warmup_ratio: Share = 0.0
    lr_scheduler_type: SchedulerType = "linear"
    weight_decay: Annotated[float, Field(ge=0)] = 0.0
    max_grad_norm: Annotated[float, Field(gt=0)] = 1.0
    mask_probability: Annotated[float, Field(gt=0, lt=1)] = 0.15
    evaluate_every: Positive = 100
    evaluation_examples: Positive = 1000
    patience: Annotated[int, Field(ge=0)] = 0
    max_tokens: Annotated[int, Field(ge=0)] = 0
    best_by: BestBy = Field("loss", description="prompted tasks: keep the lowest loss or the best metric")
    backbone_dropout: Annotated[float, Field(ge=0, lt=1)] = Field(
        0.0, description="bottleneck adapters: dropout of the frozen backbone; the published script leaves 0.1 on"
    )

    @property
    def config(self) -> TrainingConfig:
        """The same values as specs know them."""
        return TrainingConfig(**self.model_dump())


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
    init_seed: int = 42
    objective: Objective = Field("masked-lm", description="causal-lm and prefix-lm: decoders and T5-like backbones")
    training: TrainingSection

    @model_validator(mode="after")
    def _one_kind(self) -> LanguageAdapterSection:
        named = [kind for kind in KINDS if getattr(self, kind) is not None]
        if len(named) > 1:
            raise ValueError(f"one kind of adapter, not {' and '.join(named)}")
        bottleneck = {"reduction_factor", "invertible_reduction_factor", "non_linearity"} & self.model_fields_set
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
            self.reduction_factor, self.invertible_reduction_factor, self.non_linearity, self.init_seed
        )


class TaskAdapterSection(StrictModel):
    """A task's adapter: a bottleneck stacked on the source language's, or else one of the language adapters' shape."""

    reduction_factor: Positive = 16
    non_linearity: Activation = "gelu_new"
    init_seed: int = 42
    training: TrainingSection

    def config(self, language: LanguageAdapterSection) -> AdapterConfig:
        """The adapter's shape. Adapters that are merged with language adapters have their shape."""
        if language.stacked:
            return BottleneckConfig(self.reduction_factor, 0, self.non_linearity, self.init_seed)
        return language.config
