"""Recipe files: every fault at once, with file, line and key."""

from __future__ import annotations

from pathlib import Path

import pytest

from jobs.errors import InputError
from jobs.files.yaml_document import parse_yaml, read_yaml
from jobs.merging import recipe as recipes
from jobs.merging.recipe import recipe_of

GOOD = """\
method: linear
sources:
  - {adapter: path/to/en, weight: 0.35}
  - {adapter: path/to/pt, weight: 0.65}
space: delta
rank: 16
name: gl
"""


def parse_recipe(text: str, name: str) -> recipes.Recipe:
    return recipe_of(parse_yaml(text, Path(name)))


def faults(text: str) -> list[str]:
    with pytest.raises(InputError) as error:
        parse_recipe(text, "r.yaml")
    return [str(fault) for fault in error.value.faults]


def test_a_recipe_is_read_into_frozen_types():
    recipe = parse_recipe(GOOD, "r.yaml")
    assert isinstance(recipe, recipes.Linear)
    assert recipe.sources[1].weight == 0.65
    assert recipe.options.normalize is False
    with pytest.raises(ValueError, match="frozen"):
        recipe.name = "other"


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("method: task_arithmetic\nsources: [{adapter: a, weight: 1}]\nbase: p\nname: x", recipes.TaskArithmetic),
        ("method: average\nsources: [{adapter: a}, {adapter: b}]\nname: x", recipes.Average),
        ("method: add\ntask: t\nlanguage: l\noptions: {lambda: 0.5}\nname: x", recipes.Add),
        (
            "method: add_subtract\ntask: [t, u]\nlanguage_target: l\nlanguage_source: [m, n]\n"
            "options: {lambda: 0.5}\nname: x",
            recipes.AddSubtract,
        ),
        (
            "method: adamergex\ntask_source: a\nreference_target: b\nreference_source: c\nt: 0.5\nname: x",
            recipes.AdaMergeX,
        ),
        (
            "method: arimerge\ntask_source: a\nreference_target: b\nreference_source: c\nt: -1\nname: x",
            recipes.AriMerge,
        ),
        ("method: ties\nsources: [{adapter: a}]\nbase: p\noptions: {density: 0.2, lambda: 1.0}\nname: x", recipes.Ties),
        ("method: dare\nsources: [{adapter: a, weight: 1}]\nbase: p\noptions: {density: 0.2}\nname: x", recipes.Dare),
        (
            "method: ties\nbase: p\nsources: [{adapter: a, weight: 0.3, density: 0.5}, {adapter: b, weight: 0.7}]\n"
            "options: {density: 0.2, normalize: false}\nname: x",
            recipes.Ties,
        ),
        (
            "method: dare_ties\nbase: p\nsources: [{adapter: a, weight: 1, density: 0.53}]\noptions: {seed: 3}\nname: x",
            recipes.DareTies,
        ),
        ("method: slerp\nsources: [{adapter: a}, {adapter: b}]\noptions: {t: 0.5}\nname: x", recipes.Slerp),
        ("method: linear_negate_b\nsources: [{adapter: a, weight: -1}]\nname: x", recipes.LinearNegateB),
    ],
)
def test_every_method_has_its_recipe(text, kind):
    assert isinstance(parse_recipe(text, "r.yaml"), kind)


def test_every_fault_of_a_file_comes_at_once_with_line_and_key():
    text = GOOD.replace("weight: 0.65", "weigth: 0.65").replace("rank: 16", "rank: 0").replace("gl", "../gl")
    found = "\n".join(faults(text.replace("space", "spaces")))
    assert "r.yaml:4: sources[1].weight: a required key is missing" in found
    assert 'r.yaml:4: sources[1].weigth: unknown key; did you mean "weight"?' in found
    assert 'r.yaml:5: spaces: unknown key; did you mean "space"?' in found
    assert "r.yaml:6: rank:" in found
    assert "r.yaml:7: name:" in found


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", "a recipe is a mapping of keys (got nothing)"),
        ("just words", "a recipe is a mapping of keys (got a text)"),
        ("method: ties\nsources: [{adapter: a}]\noptions: {scale: 0.5}\nname: x", "options.scale: unknown key"),
        ("method: add\ntask: t\nlanguage: l\noptions: {weight: 1.0}\nname: x", "options.weight: unknown key"),
        ("- a", "a recipe is a mapping of keys (got a list)"),
        ("name: x", "r.yaml:1: method: a required key is missing; known: adamergex, add, "),
        ("name: x\nmethod: tis", "r.yaml:2: method: no such method (got 'tis'); did you mean \"ties\"?"),
        ("a: [", "not valid YAML"),
        (GOOD + "name: other", "r.yaml:8: name: the key is given twice (got first in line 7)"),
        ("a: &x [1, *x]", "does an anchor contain itself?"),
        (GOOD.replace("0.35", ".nan"), "r.yaml:3: sources[0].weight"),
        (GOOD.replace("0.35", "'0.35'"), "r.yaml:3: sources[0].weight"),
        (GOOD.replace("0.35", "true"), "r.yaml:3: sources[0].weight"),
        (GOOD + "options: {normalise: true}", 'options.normalise: unknown key; did you mean "normalize"?'),
        ("method: linear\nsources: []\nname: x", "r.yaml:2: sources"),
        ("method: slerp\nsources: [{adapter: a}]\noptions: {t: 0.5}\nname: x", "r.yaml:2: sources"),
        ("method: slerp\nsources: [{adapter: a}, {adapter: b}]\noptions: {t: 1.5}\nname: x", "r.yaml:3: options.t"),
        ("method: ties\nsources: [{adapter: a}]\noptions: {density: 20}\nname: x", "r.yaml:3: options.density"),
        ("method: ties\nsources: [{adapter: a, wieght: 2}]\nname: x", "sources[0].wieght: unknown key"),
        ("method: ties\nsources: [{adapter: a, density: 0}]\nname: x", "sources[0].density"),
        ("method: dare_ties\nsources: [{adapter: a, weight: 1}]\nname: x", "no density for a: give options.density"),
        (
            "method: dare\nsources: [{adapter: a, weight: 1, density: 0.5}, {adapter: b, weight: 1}]\nname: x",
            "no density for b: give options.density",
        ),
        ("method: add\ntask: t\nlanguage: 3\noptions: {lambda: 1}\nname: x", "r.yaml:3: language"),
        ("!!python/object/apply:os.system ['true']", "not valid YAML"),
    ],
)
def test_each_fault_names_its_place(text, expected):
    assert any(expected in fault for fault in faults(text)), faults(text)


def test_a_recipe_that_cannot_be_read_is_refused(tmp_path: Path):
    with pytest.raises(InputError, match="the file cannot be read"):
        read_yaml(tmp_path / "none.yaml")
    (tmp_path / "binary.yaml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(InputError, match="the file cannot be read"):
        read_yaml(tmp_path / "binary.yaml")
    (tmp_path / "large.yaml").write_text("#" * (2**20 + 1))
    with pytest.raises(InputError, match="too large"):
        read_yaml(tmp_path / "large.yaml")


def test_deep_nesting_does_not_crash():
    assert faults("a: " + "[" * 100_000)
    assert faults("a: " + "[" * 100_000 + "]" * 100_000)


def test_densities_are_each_source_s_own_or_the_recipe_s():
    listed = [{"adapter": "a", "weight": 1, "density": 0.25}, {"adapter": "b", "weight": 1}]
    recipe = recipes.Dare(method="dare", name="x", sources=listed, options={"density": 0.9})
    assert recipes.densities(recipe) == (0.25, 0.9)


def test_only_dare_with_more_noise_than_change_is_remarked_on():
    assert recipes.dropping_note([1.0, 0.5]) is None
    found = recipes.dropping_note([0.9, 0.2])
    # Of values x kept with probability 0.2 and multiplied by 5, the variance is 4 x^2.
    assert (
        found is not None and "density 0.2 multiplies what it keeps by 5" in found and "to be 2 times the size" in found
    )
