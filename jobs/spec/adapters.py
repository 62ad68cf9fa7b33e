"""The vocabulary of adapters: one frozen configuration for each kind, told apart by their required fields."""

from __future__ import annotations

from dataclasses import dataclass

from jobs.spec.identity import later


@dataclass(frozen=True, slots=True)
class BottleneckConfig:
    """A MAD-X bottleneck adapter after each layer's feed-forward block ("Pfeiffer"), with or without NICE.

    Bottleneck width = hidden size // `reduction_factor`. `invertible_reduction_factor` 0 means no invertible
    adapter (task adapters). `init_seed` gives every language of a campaign the same theta_pre. `leave_out`: layers that
    have no adapter, counted from 0, or from the end as -1, -2 and so on; MAD-X 2.0 leaves out the last one.
    """

    reduction_factor: int = 2
    invertible_reduction_factor: int = 2
    non_linearity: str = "gelu_new"
    init_seed: int = 42
    leave_out: tuple[int, ...] = later(())


@dataclass(frozen=True, slots=True)
class LoraConfig:
    """LoRA (arXiv 2106.09685) as PEFT has it: delta W = alpha / rank * B A on every module named in `target_modules`.

    A is drawn with `init_seed`, the same for every adapter of a campaign; B is zero. `dropout`: the share of A's inputs
    that become zero while it is trained (PEFT's `lora_dropout`).
    """

    rank: int
    alpha: float
    target_modules: tuple[str, ...]
    init_seed: int = 42
    dropout: float = 0.0


@dataclass(frozen=True, slots=True)
class Ia3Config:
    """(IA)3 (arXiv 2205.05638): learned factors, all one at the start, on the outputs of `target_modules`.

    On those of them that are `feedforward_modules` too, the factors apply to the inputs.
    """

    target_modules: tuple[str, ...]
    feedforward_modules: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class LokrConfig:
    """The Kronecker adapter, LoKr in PEFT: delta W = A kron B on every module of `target_modules`.

    `kronecker_factor`: PEFT's `decompose_factor`, the size that A aims at. A starts at zero, B is drawn.
    """

    kronecker_factor: int
    target_modules: tuple[str, ...]
    init_seed: int = 42


@dataclass(frozen=True, slots=True)
class PrefixConfig:
    """Prefix tuning (arXiv 2101.00190): `prefix_length` learned keys and values before each layer's own."""

    prefix_length: int
    init_seed: int = 42


AdapterConfig = BottleneckConfig | LoraConfig | Ia3Config | LokrConfig | PrefixConfig


def adapter_dropout(config: AdapterConfig) -> float:
    """The share of an adapter's inputs that are dropped in training; LoRA alone has such a setting."""
    return config.dropout if isinstance(config, LoraConfig) else 0.0
