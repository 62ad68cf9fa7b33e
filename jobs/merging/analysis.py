"""Do vectors of adapters agree? Cosine, sign agreement, sparsity, density and trimming, one tensor at a time.

The analyses of language arithmetic (Klimaszewski et al., arXiv 2404.15737): language vectors are sparse and alike,
task vectors nearly orthogonal. A vector is a mapping from names to tensors, usually `theta - theta_pre`; all sums
are taken in float64.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from jobs.adapters.adapter import Adapter
from jobs.adapters.lora_modules import lora_modules, lora_update
from jobs.adapters.parts import is_invertible, layer_of
from jobs.arithmetic.checks import all_finite, same_layout
from jobs.arithmetic.ties import magnitude_threshold, trimmed, vector
from jobs.errors import Fault, InputError

State = Mapping[str, Tensor]
WHOLE = "all"


@dataclass(frozen=True, slots=True)
class Agreement:
    """How the vectors relate, over a group of tensors.

    `cosine` and `sign_agreement` are [n, n]; the latter is the share of equal signs among the entries that are
    non-zero in both. `zeros` and `small` are, for each vector, the share of entries that are zero, and whose
    magnitude is at most the threshold. `norms` are Euclidean.
    """

    cosine: Tensor
    sign_agreement: Tensor
    zeros: Tensor
    small: Tensor
    norms: Tensor
    parameters: int


def layer_name(name: str) -> str:
    """The group of a tensor: `layer 07`, `invertible` for invertible adapters, `other` for the rest."""
    layer = layer_of(name)
    if layer is not None:
        return f"layer {layer:02d}"
    return "invertible" if is_invertible(name) else "other"


def agreement(
    vectors: Sequence[State], labels: Sequence[str] | None = None, threshold: float = 1e-3
) -> dict[str, Agreement]:
    """The agreement over all tensors (`WHOLE`) and per layer, from one pass.

    Raises InputError when the vectors' layouts differ or a value is NaN or infinite.
    """
    sums: dict[str, _Sums] = {}
    for name in same_layout(vectors, labels):
        rows = torch.stack([vector(state, None, name).reshape(-1).double() for state in vectors])
        all_finite(rows, name)
        for group in (WHOLE, layer_name(name)):
            sums.setdefault(group, _Sums.empty(len(vectors))).add(rows, threshold)
    order = [WHOLE, *sorted(group for group in sums if group != WHOLE)]
    return {group: sums[group].agreement() for group in order}


@dataclass(slots=True)
class _Sums:
    gram: Tensor
    same_sign: Tensor
    both: Tensor
    zeros: Tensor
    small: Tensor
    count: int = 0

    @classmethod
    def empty(cls, n: int) -> _Sums:
        square = torch.zeros(n, n, dtype=torch.float64)
        line = torch.zeros(n, dtype=torch.float64)
        return cls(square, square.clone(), square.clone(), line, line.clone())

    def add(self, rows: Tensor, threshold: float) -> None:
        signs = rows.sign()
        present = signs.abs()
        both = present @ present.T
        self.gram += rows @ rows.T
        self.both += both
        # Signs multiply to +1 where they agree and to -1 where they do not.
        self.same_sign += (signs @ signs.T + both) / 2
        self.zeros += (rows == 0).sum(dim=1)
        self.small += (rows.abs() <= threshold).sum(dim=1)
        self.count += rows.shape[1]

    def agreement(self) -> Agreement:
        agree = torch.where(
            self.both > 0, self.same_sign / self.both.clamp(min=1), torch.zeros((), dtype=torch.float64)
        )
        total = max(self.count, 1)
        norms = self.gram.diagonal().sqrt()
        return Agreement(cosine_of(self.gram), agree, self.zeros / total, self.small / total, norms, self.count)


def cosine_of(gram: Tensor) -> Tensor:
    """Cosines from inner products [n, n]; a zero vector has cosine 0 with everything."""
    norms = gram.diagonal().sqrt()
    scale = torch.outer(norms, norms)
    return torch.where(scale > 0, gram / torch.where(scale > 0, scale, 1.0), torch.zeros((), dtype=gram.dtype))


def delta_gram(adapters: Sequence[Adapter]) -> Tensor:
    """Inner products [n, n] of LoRA updates delta W over all modules, without forming delta W.

    `<B1 A1, B2 A2> = sum((B1' B2) * (A1 A2'))`. The factors of a LoRA are not unique, so cosines of factors say
    little; these do not depend on the factorization. Raises InputError when modules differ.
    """
    tables = [lora_modules(adapter) for adapter in adapters]
    for adapter, table in zip(adapters[1:], tables[1:], strict=True):
        if table.keys() != tables[0].keys():
            got = ", ".join(sorted(table.keys() ^ tables[0].keys())[:3])
            raise InputError(Fault(f"{adapters[0].label} and {adapter.label} update different modules", got=got))
    gram = torch.zeros(len(adapters), len(adapters), dtype=torch.float64)
    for module in tables[0]:
        updates = [lora_update(adapter, table[module]) for adapter, table in zip(adapters, tables, strict=True)]
        for i, one in enumerate(updates):
            for j, two in enumerate(updates[: i + 1]):
                inner = (one.up.double().T @ two.up.double()) * (one.down.double() @ two.down.double().T)
                value = float(inner.sum()) * tables[i][module].scaling * tables[j][module].scaling
                gram[i, j] += value
                gram[j, i] += value if i != j else 0.0
    return gram


@dataclass(frozen=True, slots=True)
class Density:
    """A kernel density estimate: `values[i]` at `grid[i]`; it integrates to one over the real line."""

    grid: Tensor
    values: Tensor
    bandwidth: float


def kernel_density(chunks: Callable[[], Iterable[Tensor]], points: int = 4001) -> Density:
    """Gaussian kernel density of all values in `chunks()`, with Silverman's bandwidth.

    Three passes that hold one chunk at a time: moments, quartiles, and a histogram finer than the bandwidth that is
    smoothed with the kernel. Raises InputError for no values or for NaN and infinity.
    """
    count, mean, square, low, high = 0, 0.0, 0.0, float("inf"), float("-inf")
    for chunk in chunks():
        values = chunk.reshape(-1).double()
        all_finite(values, "kernel density")
        if values.numel():
            count += values.numel()
            mean, square = mean + float(values.sum()), square + float(values.square().sum())
            low, high = min(low, float(values.min())), max(high, float(values.max()))
    if count == 0:
        raise InputError(Fault("no values to estimate a density from"))
    deviation = max(square / count - (mean / count) ** 2, 0.0) ** 0.5
    spread = deviation or max(abs(low), 1e-12)
    bandwidth = 0.9 * min(spread, _interquartile(chunks, count) / 1.349 or spread) * count**-0.2
    margin = 4 * bandwidth
    grid = torch.linspace(low - margin, high + margin, points, dtype=torch.float64)
    fine = 8 * (points - 1) + 1
    counts = torch.zeros(fine, dtype=torch.float64)
    for chunk in chunks():
        position = (chunk.reshape(-1).double() - grid[0]) / (grid[-1] - grid[0]) * (fine - 1)
        counts += torch.bincount(position.round().long(), minlength=fine)
    return Density(grid, _smoothed(counts, grid, bandwidth) / count, bandwidth)


def _interquartile(chunks: Callable[[], Iterable[Tensor]], count: int) -> float:
    """The spread of the middle half, from the magnitudes: exact for a distribution symmetric about zero."""
    return 2.0 * magnitude_threshold(chunks, 0.5) if count > 1 else 0.0


def _smoothed(counts: Tensor, grid: Tensor, bandwidth: float) -> Tensor:
    """Convolve a histogram, whose bins are eight times as fine as the grid, with a normal kernel."""
    step = float(grid[-1] - grid[0]) / (len(counts) - 1)
    frequencies = torch.fft.rfftfreq(2 * len(counts), step, dtype=torch.float64) * 2 * torch.pi
    kernel = torch.exp(-0.5 * (frequencies * bandwidth) ** 2)
    smooth = torch.fft.irfft(torch.fft.rfft(counts, 2 * len(counts)) * kernel, 2 * len(counts))[: len(counts)]
    density: Tensor = (smooth / step)[::8].clamp(min=0.0)
    return density


@dataclass(frozen=True, slots=True)
class Trimming:
    """What keeping the largest `density` share of each vector does.

    `norm_kept` [n]: share of the squared norm that is left. `conflicts`: among the entries that at least two vectors
    kept, the share in which their signs differ.
    """

    density: float
    norm_kept: Tensor
    conflicts: float


def trimming_effect(vectors: Sequence[State], densities: Sequence[float]) -> list[Trimming]:
    """The effect of TIES' trimming at each density. Raises InputError as `agreement` does."""
    names = list(same_layout(vectors))
    return [_trimming(vectors, names, density) for density in densities]


def _in_order(state: State, names: Sequence[str]) -> Iterator[Tensor]:
    return (state[name] for name in names)


def _trimming(vectors: Sequence[State], names: Sequence[str], density: float) -> Trimming:
    thresholds = [magnitude_threshold(partial(_in_order, state, names), density) for state in vectors]
    kept = torch.zeros(len(vectors), dtype=torch.float64)
    total = torch.zeros(len(vectors), dtype=torch.float64)
    shared, conflicting = 0, 0
    for name in names:
        whole = torch.stack([vector(state, None, name).reshape(-1) for state in vectors])
        rows = torch.stack([trimmed(row, threshold) for row, threshold in zip(whole, thresholds, strict=True)])
        kept += rows.double().square().sum(dim=1)
        total += whole.double().square().sum(dim=1)
        several = (rows != 0).sum(dim=0) > 1
        shared += int(several.sum())
        conflicting += int(((rows > 0).any(dim=0) & (rows < 0).any(dim=0)).sum())
    return Trimming(density, kept / total.clamp(min=1e-300), conflicting / shared if shared else 0.0)
