"""The campaign file's search: the space of weights, how it is searched, and what that may cost."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from jobs.spec import Method as Rule
from jobs.spec import StrategyName
from orchestrator.campaign.fields import StrictModel


class SpaceSection(StrictModel):
    """Mixtures of the anchor and all related languages (and the target, in an enhancement).

    simplex: weights that sum to one, in steps or any. subsets: sets of languages of equal weight or, with a step,
    of weights in steps. Without a space, lambda is searched between the anchor and one other language at a time.
    """

    kind: Literal["simplex", "subsets"]
    step: Annotated[float, Field(ge=0, le=1)] = Field(0.0, description="weights are multiples of it; 0: any, or equal")
    smallest: Annotated[int, Field(ge=1)] = Field(1, description="subsets: languages at least")
    largest: Annotated[int, Field(ge=1)] = Field(3, description="subsets: languages at most")
    rule: Rule = "task_arithmetic"
    options: dict[str, tuple[float, ...]] = Field(
        default_factory=dict, description="values to try of each option of the rule, e.g. density: [0.2, 0.8]"
    )

    @model_validator(mode="after")
    def _options_have_a_rule(self) -> SpaceSection:
        if self.options and self.rule == "task_arithmetic":
            raise ValueError("task arithmetic has no options: name a `rule`")
        return self


class SearchSection(StrictModel):
    """How weights are searched, on validation data alone. By default every lambda of a grid from 0 to 1."""

    lambda_step: Annotated[float, Field(gt=0, le=0.5)] = 0.05
    max_length: Annotated[int, Field(ge=8)] = 128
    space: SpaceSection | None = Field(None, description="default: lambda of one pair at a time")
    strategy: StrategyName = Field("grid", description="see docs/search.md for what each one needs")
    evaluations: Annotated[int, Field(ge=0)] = Field(0, description="budget in candidates; 0: what the strategy wants")
    minutes: Annotated[float, Field(ge=0)] = Field(0.0, description="budget of scoring time; results then vary")
    starts: tuple[Literal["equal", "alone", "typology"], ...] = Field(
        ("equal", "alone"), description="mixtures tried first by strategies other than grid"
    )
    finalists: Annotated[int, Field(ge=1)] = Field(3, description="of the best, scored on the whole validation set")
    ahead: Annotated[int, Field(ge=1)] = Field(4, description="trials on their way of a model-based strategy")
    seed: int = 0
