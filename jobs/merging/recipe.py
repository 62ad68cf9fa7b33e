"""The recipe of one merge: YAML -> frozen types; every fault of a file comes at once, with its line."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Annotated, ClassVar, Literal, Self, get_args

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, TypeAdapter, model_validator

from jobs.adapters.parts import PARTS, is_part
from jobs.errors import Fault, InputError
from jobs.files.yaml_document import Document, nearest, validate

Space = Literal["factors", "delta", "kronecker", "core"]
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


def _part(text: str) -> str:
    if not is_part(text):
        raise ValueError(f"no such part; {nearest(text, [*PARTS, 'layers 0-3'])}")
    return text


Part = Annotated[str, AfterValidator(_part)]


class PartedSource(WeightedSource):
    """The same with weights of its own in some parts of the adapter; `weight` is that of the rest."""

    parts: dict[Part, Number] = Field(default_factory=dict)


class TrimmedSource(Source):
    """One adapter directory of TIES: its weight in the election and in the mean, and its own density if it has one."""

    weight: Number = 1.0
    density: Share | None = None


class DroppedSource(WeightedSource):
    """One weighted adapter directory of DARE, with its own density if it has one."""

    density: Share | None = None


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
    sources: Annotated[tuple[PartedSource, ...], Field(min_length=1)]
    options: LinearOptions = LinearOptions()


class LinearNegateB(_Recipe):
    """`linear` on LoRA factors, where a negative weight negates B alone (Zhang et al. 2023)."""

    method: Literal["linear_negate_b"]
    sources: Annotated[tuple[WeightedSource, ...], Field(min_length=1)]


class TaskArithmetic(_Recipe):
    """`theta_pre + sum_i weight_i * (theta_i - theta_pre)`."""

    method: Literal["task_arithmetic"]
    sources: Annotated[tuple[PartedSource, ...], Field(min_length=1)]
    base: str | None = None


class LayerSwapping(_Recipe):
    """The middle third of the layers of the task adapter, all else of the language adapter (arXiv 2410.01335)."""

    method: Literal["layer_swapping"]
    task: str
    language: str
    roles: ClassVar[tuple[str, ...]] = ("task", "language")


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
    """`density` is the share of values kept per source, `lambda` scales the merged task vector.

    `normalize: false` adds up the weighted values that agree in place of their mean.
    """

    density: Share = 0.2
    scale: Number = Field(default=1.0, alias="lambda")
    normalize: Annotated[bool, Field(strict=True)] = True


class Ties(_Recipe):
    """TIES merging; `base: zero` says that the sources are task vectors already."""

    method: Literal["ties"]
    sources: Annotated[tuple[TrimmedSource, ...], Field(min_length=1)]
    base: str | None = None
    options: TiesOptions = TiesOptions()


class DareOptions(_Frozen):
    """`density` is the probability with which a value is kept; `seed` chooses the masks."""

    density: Share | None = None
    seed: Annotated[int, Field(ge=0, strict=True)] = 0


class DareTiesOptions(DareOptions):
    """`lambda` scales the merged task vector; `normalize` takes the mean of the values that agree, not their sum."""

    scale: Number = Field(default=1.0, alias="lambda")
    normalize: Annotated[bool, Field(strict=True)] = False


class _Dropping(_Recipe):
    """What DARE has with and without an election of signs; `base: zero`: the sources are task vectors already."""

    sources: Annotated[tuple[DroppedSource, ...], Field(min_length=1)]
    base: str | None = None
    options: DareOptions = DareOptions()

    @model_validator(mode="after")
    def _every_source_has_a_density(self) -> Self:
        lacking = [source.adapter for source in self.sources if source.density is None]
        if self.options.density is None and lacking:
            raise ValueError(f"no density for {', '.join(lacking)}: give options.density, or each source its own")
        return self


class Dare(_Dropping):
    """DARE: random values of each task vector dropped, the others rescaled, all added up."""

    method: Literal["dare"]


class DareTies(_Dropping):
    """DARE, and of what is left the values whose sign TIES elects (mergekit's dare_ties)."""

    method: Literal["dare_ties"]
    options: DareTiesOptions = DareTiesOptions()


def densities(recipe: Ties | Dare | DareTies) -> tuple[float, ...]:
    """The density of each source: its own, or that of the recipe, without which each has one."""
    common = recipe.options.density or 1.0
    return tuple(common if source.density is None else source.density for source in recipe.sources)


LEAST_DENSITY = 0.5  # where the random error of DARE is as large as the change itself


def dropping_note(kept: Collection[float]) -> str | None:
    """What is to be said of DARE at these densities; None unless one is low.

    A value is kept with probability d and divided by d: its variance is (1 - d) / d of its square, so that the expected
    squared error of a task vector is that share of its squared norm.
    """
    least = min(kept, default=1.0)
    if least >= LEAST_DENSITY:
        return None
    return (
        f"DARE at density {least:g} multiplies what it keeps by {1 / least:.3g}: its random error is expected to be "
        f"{((1 - least) / least) ** 0.5:.3g} times the size of the change itself; try a density of {LEAST_DENSITY:g} "
        "or more, other seeds, or plain task arithmetic"
    )


class SlerpOptions(_Frozen):
    """`t` 0 is the first source, 1 the second."""

    t: Annotated[float, Field(ge=0.0, le=1.0, strict=True)]


class Slerp(_Recipe):
    """Spherical interpolation between two sources."""

    method: Literal["slerp"]
    sources: Annotated[tuple[Source, ...], Field(min_length=2, max_length=2)]
    options: SlerpOptions


Recipe = (
    Linear
    | LinearNegateB
    | TaskArithmetic
    | LayerSwapping
    | Average
    | Add
    | AddSubtract
    | AdaMergeX
    | AriMerge
    | Ties
    | Dare
    | DareTies
    | Slerp
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
