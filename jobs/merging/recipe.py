"""The recipe of one merge: YAML -> frozen types; every fault of a file comes at once, with its line."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, ClassVar, Literal, get_args

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter

from jobs.errors import Fault, InputError
from jobs.files.yaml_document import Document, validate

Space = Literal["factors", "delta", "kronecker"]
Operators = Literal["fitting", "add", "multiply"]
# Rules that are plain sums take delta W unless a recipe says otherwise, where they are exact; those that a paper
# defines on the factors apart stay there.
DELTA_BY_DEFAULT = ("linear", "task_arithmetic", "average", "add", "add_subtract")
# The operators that AdaMergeX finds fitting for element-wise kinds; prefixes are matrices, with a rule of their own.
FITTING: Mapping[str, Operators] = {"lora": "add", "ia3": "multiply", "prefix": "fitting"}
HeadPolicy = Literal["merge", "first", "task", "mean", "drop"]
Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9_][A-Za-z0-9_-]{0,99}$")]
Number = Annotated[float, Field(allow_inf_nan=False, strict=True)]
Share = Annotated[float, Field(gt=0.0, le=1.0, strict=True)]
# One adapter directory, or several whose average is meant.
Paths = str | Annotated[tuple[str, ...], Field(min_length=1)]


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Source(_Frozen):
    """One adapter directory; relative paths start at the recipe's own directory."""

    adapter: str


class WeightedSource(Source):
    """One adapter directory with its weight: any finite number, never normalized."""

    weight: Number


class _Recipe(_Frozen):
    """What every recipe may say. `space` and `rank` concern LoRA, LoKr and reparametrized prefixes alone."""

    name: Name
    space: Space | None = None
    rank: Annotated[int, Field(ge=1, le=65536, strict=True)] | None = None
    head: HeadPolicy | None = None
    backbone: str | None = None
    roles: ClassVar[tuple[str, ...]] = ()


class LinearOptions(_Frozen):
    """`normalize` divides the weights by their sum; it must be asked for."""

    normalize: Annotated[bool, Field(strict=True)] = False


class Linear(_Recipe):
    """`sum_i weight_i * theta_i`."""

    method: Literal["linear"]
    sources: Annotated[tuple[WeightedSource, ...], Field(min_length=1)]
    options: LinearOptions = LinearOptions()


class LinearNegateB(_Recipe):
    """`linear` on LoRA factors, where a negative weight negates B alone (Zhang et al. 2023)."""

    method: Literal["linear_negate_b"]
    sources: Annotated[tuple[WeightedSource, ...], Field(min_length=1)]


class TaskArithmetic(_Recipe):
    """`theta_pre + sum_i weight_i * (theta_i - theta_pre)`."""

    method: Literal["task_arithmetic"]
    sources: Annotated[tuple[WeightedSource, ...], Field(min_length=1)]
    base: str | None = None


class Average(_Recipe):
    """Eq. 3 of language and task arithmetic: the mean of the sources."""

    method: Literal["average"]
    sources: Annotated[tuple[Source, ...], Field(min_length=1)]


class LambdaOptions(_Frozen):
    """The paper's lambda."""

    weight: Number = Field(alias="lambda")


class Add(_Recipe):
    """Eq. 1: `lambda * task + (1 - lambda) * language`; a list stands for its average."""

    method: Literal["add"]
    task: Paths
    language: Paths
    options: LambdaOptions
    roles: ClassVar[tuple[str, ...]] = ("task", "language")


class AddSubtract(_Recipe):
    """Eq. 2 and 4: `lambda * task + (1 - lambda) * (language_target - language_source)`; a list is its average."""

    method: Literal["add_subtract"]
    task: Paths
    language_target: Paths
    language_source: Paths
    options: LambdaOptions
    roles: ClassVar[tuple[str, ...]] = ("task", "language_target", "language_source")


class AdaMergeX(_Recipe):
    """AdaMergeX: operators after the adapter's structure, with its t; or, for the ablation, `add` or `multiply`."""

    method: Literal["adamergex"]
    task_source: str
    reference_target: str
    reference_source: str
    t: Number
    operators: Operators = "fitting"
    roles: ClassVar[tuple[str, ...]] = ("task_source", "reference_target", "reference_source")


class AriMerge(_Recipe):
    """AdaMergeX's baseline: `task_source + t * (reference_target - reference_source)` for every kind."""

    method: Literal["arimerge"]
    task_source: str
    reference_target: str
    reference_source: str
    t: Number
    roles: ClassVar[tuple[str, ...]] = ("task_source", "reference_target", "reference_source")


class TiesOptions(_Frozen):
    """`density` is the share of values kept per source, `lambda` scales the merged task vector."""

    density: Share = 0.2
    scale: Number = Field(default=1.0, alias="lambda")


class Ties(_Recipe):
    """TIES merging; `base: zero` says that the sources are task vectors already."""

    method: Literal["ties"]
    sources: Annotated[tuple[Source, ...], Field(min_length=1)]
    base: str | None = None
    options: TiesOptions = TiesOptions()


class DareOptions(_Frozen):
    """`density` is the probability with which a value is kept; `seed` chooses the masks."""

    density: Share
    seed: Annotated[int, Field(ge=0, strict=True)] = 0


class Dare(_Recipe):
    """DARE; `base: zero` says that the sources are task vectors already."""

    method: Literal["dare"]
    sources: Annotated[tuple[WeightedSource, ...], Field(min_length=1)]
    base: str | None = None
    options: DareOptions


class SlerpOptions(_Frozen):
    """`t` 0 is the first source, 1 the second."""

    t: Annotated[float, Field(ge=0.0, le=1.0, strict=True)]


class Slerp(_Recipe):
    """Spherical interpolation between two sources."""

    method: Literal["slerp"]
    sources: Annotated[tuple[Source, ...], Field(min_length=2, max_length=2)]
    options: SlerpOptions


Recipe = (
    Linear | LinearNegateB | TaskArithmetic | Average | Add | AddSubtract | AdaMergeX | AriMerge | Ties | Dare | Slerp
)
METHODS = tuple(get_args(one.model_fields["method"].annotation)[0] for one in get_args(Recipe))
RECIPE: TypeAdapter[Recipe] = TypeAdapter(Annotated[Recipe, Field(discriminator="method")])


def recipe_of(document: Document) -> Recipe:
    """The recipe. Raises InputError with every fault of the file, each with line and key."""
    if not isinstance(document.content, dict):
        todo = f"methods: {', '.join(METHODS)}"
        got = "nothing" if document.content is None else "a list" if isinstance(document.content, list) else "a text"
        raise InputError(Fault("a recipe is a mapping of keys", document.where(()), got, todo))
    return validate(document, RECIPE)
