"""The campaign file's comparisons: targets, methods, and the baselines that they are measured against."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from jobs.data.template import Template
from jobs.errors import InputError
from jobs.files.yaml_document import nearest
from jobs.merging.recipe import Operators, Space
from jobs.spec import Choice
from jobs.spec import Method as Rule
from orchestrator.campaign.fields import Distance, LanguageCode, Name, Positive, StrictModel, as_list
from orchestrator.campaign.methods import KEY, Method, is_searched, parse_line, stacked_keys
from orchestrator.campaign.presets import PRESETS
from orchestrator.campaign.prompts import ExamplesSection, Stop, examples_faults

Bound = Annotated[float, Field(gt=0, le=1)]


class WithinSection(StrictModel):
    """All languages nearer than both bounds (arXiv 2311.09344, Table 5); the nearest one where there is none."""

    syntactic: Bound = 0.7
    geographic: Bound = 0.3


# Distances to choose by, the wanted one first.
Order = Annotated[
    tuple[Distance, ...],
    Field(min_length=1),
    BeforeValidator(as_list, json_schema_input_type=str | list[str]),
]


class RelatedSection(StrictModel):
    """How related languages are chosen from the pool: the `top` nearest, all `within` two bounds, or stated by `of`.

    Where a target has no distance of the wanted kind to any language of the pool, the next of `by` is taken, after the
    last one `mixed` and then `characters`; what was taken, and why, is stated.
    """

    by: Order = Field(
        ("syntactic",),
        description="syntactic, geographic, genetic, inventory, phonological, featural; of urielplus also "
        "morphological; a sum such as geographic+genetic: the mean over the kinds that both languages have; mixed: the "
        "first three, all: the first six; of texts: overlap (of subword pieces), characters; a list: in this order",
    )
    top: Positive = 1
    within: WithinSection | None = None
    each: bool = Field(False, description="kind mixture: a comparison of its own for every related language")
    pool: tuple[LanguageCode, ...] = Field((), description="candidates; default: all languages with an adapter")
    of: dict[LanguageCode, Annotated[tuple[LanguageCode, ...], Field(min_length=1)]] = Field(
        default_factory=dict,
        description="a target's related languages as someone stated them, e.g. {ar: [sw], es: [fr]}",
    )
    source: str = Field(
        "uriel",
        description="of distances: uriel (lang2vec's features), urielplus (if installed), or a file: lang2vec's "
        "distances2.zip, or a text table with the columns a, b, kind, distance",
    )


def _weight(text: str | float) -> str:
    parse_line(text)
    return str(text)


def _key(key: str) -> str:
    if not KEY.match(key):
        raise ValueError(f"not an adapter: {key!r}; write language:, task: or reference: and a code or {{target}}, ...")
    return key


class MethodSection(StrictModel):
    """A method or baseline of one's own: adapters with weights, numbers or lines in lambda like `1 - lambda`."""

    name: Name
    label: str = ""
    weights: dict[Annotated[str, AfterValidator(_key)], Annotated[str | float, AfterValidator(_weight)]]
    rule: Rule = "linear"
    options: dict[str, float | Literal["lambda"] | Space | Operators] = Field(
        default_factory=dict, description="the rule's parameters; the value lambda is searched"
    )
    lambdas: tuple[float, float] = Field((0.0, 1.0), description="lowest and highest lambda that is searched")
    prompt: str = Field("", description="a baseline's own words to ask the task in; {target} is the target's name")
    stop: tuple[Stop, ...] = Field((), description="a baseline's own stop strings, in place of the task's")
    examples: ExamplesSection | None = Field(None, description="a baseline's own worked examples")
    chat: bool = Field(False, description="a baseline asks in the tokenizer's chat template, or (false) does not")

    @model_validator(mode="after")
    def _prompt_can_be_filled(self) -> MethodSection:
        try:
            Template.parse(self.prompt, "`prompt`")
        except InputError as faulty:
            raise ValueError(str(faulty.faults[0])) from faulty
        if self.examples and (faults := list(examples_faults(self.examples))):
            raise ValueError("; ".join(faults))
        return self

    @property
    def asked(self) -> dict[str, Any]:
        """How a baseline asks otherwise than the task: what of this the file gives."""
        given = self.model_fields_set & {"prompt", "stop", "examples", "chat"}
        return {
            name: getattr(self, name)
            for name in sorted(given)
            if name not in ("prompt", "examples") or getattr(self, name)
        }

    @property
    def method(self) -> Method:
        """The same as the planner's type."""
        options = tuple(self.options.items())
        weights = tuple((key, str(value)) for key, value in self.weights.items())
        return Method(self.name, self.label or self.name, weights, self.rule, options, self.lambdas, asked=self.asked)


def _preset(name: str) -> str:
    if name not in PRESETS:
        raise ValueError(f"unknown method; {nearest(name, sorted(PRESETS))}")
    return name


Chosen = Annotated[str, AfterValidator(_preset)] | MethodSection


class _Compared(StrictModel):
    """What all kinds of comparisons have."""

    name: Name
    targets: tuple[LanguageCode, ...] = Field(min_length=1)
    tasks: tuple[Name, ...] = Field(min_length=1)
    related: RelatedSection = RelatedSection()
    published: str = Field("", description="file of the paper's figures, for a table beside ours")


class ZeroShotSection(_Compared):
    """LA(anchor, related) for targets without an adapter. The anchor is the task's language."""

    kind: Literal["zero-shot"]


class EnhancementSection(_Compared):
    """LA(anchor, target) and LA(related, target) for targets that have an adapter."""

    kind: Literal["enhancement"]


class JointSection(_Compared):
    """One merge, of the anchors and all targets' related languages, for every target on every task at once."""

    kind: Literal["joint"]
    choose: Choice = Field(
        "regret",
        description="the merge that loses least where it loses most against the best for that alone (regret), gains "
        "most on average (mean), or gains most where it gains least (worst)",
    )

    @model_validator(mode="after")
    def _several_objectives(self) -> JointSection:
        if len(self.targets) * len(self.tasks) < 2:
            raise ValueError("a joint comparison needs two objectives or more: name several `targets` or `tasks`")
        return self


class MixtureSection(_Compared):
    """The `methods` named here, each searched and tested against all `baselines`."""

    kind: Literal["mixture"]
    methods: tuple[Chosen, ...] = Field(min_length=1, description="presets by name, or methods of your own")
    baselines: tuple[Chosen, ...] = Field((), description="likewise, without anything to search")
    budgets: tuple[Positive, ...] = Field(
        (), description="a comparison for each training length of the target's own adapter, in tokens"
    )
    space: Space | None = Field(
        None,
        description="lora, kronecker: factors are merged apart, or delta W; lora: core, delta W in a basis that all "
        "adapters share; default: the rule's own",
    )
    reference: str = Field("", description="AdaMergeX's reference task; default: language modelling")

    @model_validator(mode="after")
    def _methods_and_baselines(self) -> MixtureSection:
        _check_baselines(chosen_methods(self.baselines))
        if alone := [one.name for one in chosen_methods(self.methods) if one.asked or stacked_keys(one)]:
            raise ValueError(f"words to ask in and stacked adapters are of baselines: {', '.join(alone)}")
        names = [one.name for one in (*chosen_methods(self.methods), *chosen_methods(self.baselines))]
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise ValueError(f"named twice: {', '.join(twice)}")
        return self


ComparisonSection = Annotated[
    ZeroShotSection | EnhancementSection | MixtureSection | JointSection, Field(discriminator="kind")
]


def _check_baselines(baselines: tuple[Method, ...]) -> None:
    """A baseline is a weighted sum, with one adapter on top of it at most. Raises ValueError."""
    if searched := [one.name for one in baselines if is_searched(one)]:
        raise ValueError(f"a baseline has nothing to search: list it under `methods`: {', '.join(searched)}")
    ruled = [one.name for one in baselines if one.rule not in ("linear", "task_arithmetic") or one.options]
    if ruled:
        raise ValueError(f"a baseline is a weighted sum: list other rules under `methods`: {', '.join(ruled)}")
    for one in baselines:
        weights = dict(one.weights)
        if len(stacked_keys(one)) > 1 or any(parse_line(weights[key]).constant != 1 for key in stacked_keys(one)):
            raise ValueError(f"one adapter is stacked, with weight 1: {one.name}")


def chosen_methods(chosen: tuple[str | MethodSection, ...]) -> tuple[Method, ...]:
    """Presets and methods of one's own as the planner's type."""
    return tuple(PRESETS[one] if isinstance(one, str) else one.method for one in chosen)
