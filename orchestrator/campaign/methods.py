"""Methods and baselines of mixture comparisons: weights as straight lines in lambda, and the papers' presets.

A weight is `constant + slope * lambda`. Its key names an adapter: `language:CODE`, `task:CODE` (the comparison's
task, trained in CODE), `reference:CODE` (AdaMergeX's reference task) or, in a baseline, `stacked:CODE` (the task's
adapter, trained on top of CODE's frozen language adapter, which acts on top of the sum of the others). Placeholders
stand for CODE: `{target}`, `{source}` (the task's language), `{related}` and `{sources}` (a mean over several: the
weight is shared out), `{weighted-related}` (likewise, by TIPA's weights), `{any-related}` and `{any-source}` (the
search tries one after another).
"""

from __future__ import annotations

import ast
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any, Literal

from jobs.errors import Fault, InputError
from jobs.spec import Method as Rule
from search_spaces.mixtures.candidates import weight_at

KEY = re.compile(
    r"^(language|task|reference|stacked):"
    r"(\{(target|source|related|sources|weighted-related|any-related|any-source)\}|[A-Za-z0-9_-]+)$"
)
WEIGHTED = "{weighted-related}"
BaselineRole = Literal["baseline", "proxy", "own", "fixed"]
MULTILINGUAL = "multilingual"  # `task:multilingual`: one adapter trained on the data of all task languages


@dataclass(frozen=True, slots=True)
class Line:
    """A weight as a function of lambda."""

    constant: float = 0.0
    slope: float = 0.0

    def at(self, lambda_: float) -> float:
        """Its value, free of binary noise."""
        return weight_at(self.constant, self.slope, lambda_)


Lines = tuple[tuple[str, Line], ...]


@dataclass(frozen=True, slots=True)
class Method:
    """A way to combine adapters. `lambdas`: (lowest, highest), searched in the campaign's lambda step.

    `rule`: how the weighted adapters become one. `options`: the rule's parameters; the value "lambda" is searched.
    `role`: what it is as a baseline; of several proxies the one that is better on validation data counts. `asked`: of a
    baseline that asks otherwise than the task: its `prompt`, `stop`, `examples`, `chat`; in the first two `{target}`
    stands for the target.
    """

    name: str
    label: str
    weights: tuple[tuple[str, str], ...]
    rule: Rule = "linear"
    options: tuple[tuple[str, float | str], ...] = ()
    lambdas: tuple[float, float] = (0.0, 1.0)
    role: BaselineRole = "baseline"
    asked: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Placeholders:
    """What the placeholders stand for: one target, its task and its related languages; `tipa`: a weight for each."""

    target: str
    source: str
    related: tuple[str, ...] = ()
    sources: tuple[str, ...] = field(default=())
    tipa: Mapping[str, float] = field(default_factory=dict)


def parse_line(text: str | float) -> Line:
    """`1 - lambda`, `-0.5*lambda`, `0.5` ... as a line. Raises ValueError for anything that is not one."""
    if not isinstance(text, str):
        return Line(float(text))
    try:
        tree = ast.parse(text.replace("lambda", "x").strip(), mode="eval").body
    except SyntaxError as error:
        raise ValueError(f"not a weight: {text!r}; write a number or a line in lambda such as 1 - lambda") from error
    constant, slope = _line(tree, text)
    return Line(float(constant), float(slope))


def branches(method: Method, places: Placeholders) -> tuple[Lines, ...]:
    """The method's weights with codes in place of placeholders: one entry for each language that `{any-...}` tries.

    Keys of equal adapters are added up; languages of weight zero at every lambda are left out. Raises InputError
    where a placeholder stands for no language.
    """
    found = []
    for chosen in _choices(method, places):
        lines: dict[str, Line] = {}
        for template, text in method.weights:
            codes = _codes(template, places, chosen)
            line = parse_line(text)
            for code in codes:
                key = f"{template.partition(':')[0]}:{code}"
                share = Line(line.constant / len(codes), line.slope / len(codes))
                if template.endswith(WEIGHTED):
                    share = Line(line.constant * places.tipa[code], line.slope * places.tipa[code])
                old = lines.get(key, Line())
                lines[key] = Line(old.constant + share.constant, old.slope + share.slope)
        found.append(tuple((key, line) for key, line in lines.items() if line != Line()))
    return tuple(dict.fromkeys(found))


def stacked_keys(method: Method) -> tuple[str, ...]:
    """Keys of task adapters that act on top of the sum of the others."""
    return tuple(key for key, _ in method.weights if is_stacked(key))


def is_stacked(key: str) -> bool:
    """Whether a key names a task adapter that was trained on top of a language adapter, and acts on top of one."""
    return key.startswith("stacked:")


def is_searched(method: Method) -> bool:
    """Whether anything depends on lambda or is tried one after another."""
    lines = any(parse_line(text).slope for _, text in method.weights)
    return lines or _chooser(method) is not None or any(value == "lambda" for _, value in method.options)


def _line(node: ast.expr, text: str) -> tuple[Fraction, Fraction]:
    match node:
        case ast.Constant(value=int() | float() as value) if not isinstance(value, bool) and math.isfinite(value):
            return Fraction(str(value)), Fraction(0)
        case ast.Name(id="x"):
            return Fraction(0), Fraction(1)
        case ast.UnaryOp(op=ast.USub(), operand=inner):
            constant, slope = _line(inner, text)
            return -constant, -slope
        case ast.BinOp(left=left, op=ast.Add() | ast.Sub() as sign, right=right):
            (a, b), (c, d) = _line(left, text), _line(right, text)
            return (a + c, b + d) if isinstance(sign, ast.Add) else (a - c, b - d)
        case ast.BinOp(left=left, op=ast.Mult(), right=right):
            (a, b), (c, d) = _line(left, text), _line(right, text)
            if not (b and d):
                return a * c, a * d + b * c
        case ast.BinOp(left=left, op=ast.Div(), right=right):
            (a, b), (c, d) = _line(left, text), _line(right, text)
            if c and not d:
                return a / c, b / c
    raise ValueError(f"not a weight: {text!r}; write a number or a line in lambda such as 1 - lambda")


def _chooser(method: Method) -> str | None:
    keys = (key.partition(":")[2] for key, _ in method.weights)
    return next((key for key in keys if key in ("{any-related}", "{any-source}")), None)


def _choices(method: Method, places: Placeholders) -> Iterator[str]:
    chooser = _chooser(method)
    if chooser is None:
        yield ""
        return
    yield from _filled(places.related if chooser == "{any-related}" else places.sources, chooser, method.name, places)


def _codes(template: str, places: Placeholders, chosen: str) -> Sequence[str]:
    place = template.partition(":")[2]
    several: Mapping[str, tuple[str, ...]] = {
        "{related}": places.related,
        WEIGHTED: places.related,
        "{sources}": places.sources,
    }
    if place in several:
        return _filled(several[place], place, template, places)
    one = {"{target}": places.target, "{source}": places.source, "{any-related}": chosen, "{any-source}": chosen}
    return (one.get(place, place),)


def _filled(codes: tuple[str, ...], place: str, where: str, places: Placeholders) -> tuple[str, ...]:
    if not codes:
        raise InputError(Fault(f"{place} stands for no language", f"{where}, target {places.target}"))
    return codes
