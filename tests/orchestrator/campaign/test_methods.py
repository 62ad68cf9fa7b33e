import pytest

from jobs.errors import InputError
from orchestrator.campaign.methods import Line, Method, Placeholders, branches, is_searched, parse_line
from orchestrator.campaign.presets import PRESETS

PLACES = Placeholders("si", "en", related=("bn", "te"), sources=("en", "bn", "te", "ko"))


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("lambda", Line(0, 1)),
        ("1 - lambda", Line(1, -1)),
        ("-lambda", Line(0, -1)),
        ("lambda - 1", Line(-1, 1)),
        ("0.5*lambda + 0.25", Line(0.25, 0.5)),
        ("2 * (1 - lambda) / 4", Line(0.5, -0.5)),
        ("1/4", Line(0.25, 0)),
        (0.3, Line(0.3, 0)),
        ("-2", Line(-2, 0)),
    ],
)
def test_weights_are_lines_in_lambda(text, line):
    assert parse_line(text) == line


@pytest.mark.parametrize("text", ["lambda*lambda", "x + y", "__import__('os')", "1/lambda", "", "1 -", "True", "'1'"])
def test_anything_else_is_refused(text):
    with pytest.raises(ValueError, match="not a weight"):
        parse_line(text)


def test_values_on_a_line_carry_no_binary_noise():
    assert [Line(1, -1).at(x) for x in (0.05, 0.1, 0.35, 0.7)] == [0.95, 0.9, 0.65, 0.3]


def weights(name, lambda_, places=PLACES):
    (lines,) = branches(PRESETS[name], places)
    return {key: line.at(lambda_) for key, line in lines}


def test_add_is_equation_1():
    assert weights("add", 0.3) == {"task:en": 0.3, "language:si": 0.7}


def test_add_and_subtract_is_equation_2():
    assert weights("add-subtract", 0.3) == {"task:en": 0.3, "language:si": 0.7, "language:en": -0.7}


def test_add_all_is_equation_3():
    assert weights("add-all", 0.0) == {"task:en": 0.25, "task:bn": 0.25, "task:te": 0.25, "task:ko": 0.25}


def test_add_and_subtract_related_is_equation_4():
    found = weights("add-subtract-related", 0.6)
    assert found == {
        "task:bn": pytest.approx(0.3),
        "task:te": pytest.approx(0.3),
        "language:si": pytest.approx(0.4),
        "language:bn": pytest.approx(-0.2),
        "language:te": pytest.approx(-0.2),
    }


def test_adamergex_moves_the_task_adapter_by_the_references_gap():
    assert weights("adamergex", 0.8) == {"task:en": 1.0, "reference:si": 0.8, "reference:en": -0.8}


def test_best_tries_every_task_adapter_alone():
    assert branches(PRESETS["best"], PLACES) == tuple(((f"task:{code}", Line(1, 0)),) for code in PLACES.sources)


def test_language_arithmetic_tries_every_related_language():
    found = branches(PRESETS["language-arithmetic"], PLACES)
    assert [[key for key, _ in lines] for lines in found] == [
        ["language:en", "language:bn"],
        ["language:en", "language:te"],
    ]


def test_adapters_that_fall_together_are_added_up():
    lines = branches(Method("m", "m", (("task:{source}", "1"), ("task:en", "lambda"))), PLACES)
    assert lines == ((("task:en", Line(1, 1)),),)


def test_adapters_that_cancel_at_every_lambda_are_left_out():
    (lines,) = branches(PRESETS["add-subtract"], Placeholders("en", "en"))
    assert dict(lines) == {"task:en": Line(0, 1)}


def test_tipa_shares_a_weight_out_by_what_it_is_given():
    places = Placeholders("si", "en", related=("bn", "te"), tipa={"bn": 0.75, "te": 0.25})
    assert weights("tipa", 0.5, places) == {"language:bn": 0.75, "language:te": 0.25}
    half = Method("m", "m", (("language:{weighted-related}", "1 - lambda"), ("language:{source}", "lambda")))
    (lines,) = branches(half, places)
    assert dict(lines) == {
        "language:bn": Line(0.75, -0.75),
        "language:te": Line(0.25, -0.25),
        "language:en": Line(0, 1),
    }


def test_a_placeholder_for_no_language_is_refused():
    with pytest.raises(InputError, match=r"\{related\} stands for no language"):
        branches(PRESETS["add-related"], Placeholders("si", "en"))


def test_fixed_methods_have_nothing_to_search():
    searched = {name for name, method in PRESETS.items() if is_searched(method)}
    assert set(PRESETS) - searched == {
        "no-adapter",
        "task-adapter",
        "multilingual",
        "add-all",
        "add-related",
        "proxy",
        "proxy-related",
        "own",
        "half",
        "mad-x",
        "tipa",
        "layer-swapping",
    }
