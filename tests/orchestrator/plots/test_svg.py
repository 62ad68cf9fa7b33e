from __future__ import annotations

import re
from xml.etree import ElementTree

import pytest

from orchestrator.plots.palette import COLOURS
from orchestrator.plots.panels import (
    Bar,
    BudgetPanel,
    Curve,
    DensityPanel,
    GainBar,
    GainPanel,
    HeatPanel,
    LambdaPanel,
    Panel,
    TimelinePanel,
    TrainingPanel,
)
from orchestrator.plots.svg import draw

NAN = float("nan")
XS = (0.0, 0.5, 1.0)
CURVE = Curve("en + es", XS, (3.1, 3.0, 3.2), (0.1, 0.0, 0.1), "arithmetic", True)
BARS = (GainBar("Galician", 1.2, 0.4, 2.0, True, "+1.20"), GainBar("X", -1, NAN, NAN, False, "−1"))
TOKENS = Curve("own adapter", (200.0, 10_000.0, 2_500_000.0), (30.0, 40.0, 41.0), (1.0, 0.0, 0.5), "own", False)
PANELS: dict[str, Panel] = {
    "budget": BudgetPanel("Galician, NER", "tokens", (TOKENS,), (("English", 35.0, "proxy-1"),)),
    "lambda": LambdaPanel("Galician", "lambda", (CURVE,), (("English", 3.2, "proxy-1"),), (0.5, 3.0)),
    "gain": GainPanel("Gains", "F1", BARS),
    "training": TrainingPanel("Galician", "3.00", (CURVE,), ((0.5, 3.0),), (2.9, 3.3)),
    "heat": HeatPanel("Cosine", ("en", "es", "gl"), ((1.0, 0.2, 0.1), (0.2, 1.0, 0.6), (0.1, 0.6, 1.0))),
    "density": DensityPanel("Weights", "w", (-1.0, 0.0, 1.0), ((0.4, 0.6), (0.5, 0.5))),
    "timeline": TimelinePanel("Workers", (Bar("worker 1", "50 %", (("proxy-1", 1.0, 4.5), ("own", 4.5, 5.0))),), 200.0),
}  # fmt: skip


@pytest.mark.parametrize("kind", PANELS)
def test_a_figure_is_well_formed_and_the_same_every_time(kind: str) -> None:
    svg = draw(PANELS[kind])
    assert ElementTree.fromstring(svg).tag.endswith("svg")
    assert draw(PANELS[kind]) == svg


@pytest.mark.parametrize("kind", PANELS)
def test_words_in_a_figure_are_text_and_not_paths(kind: str) -> None:
    words = "".join(ElementTree.fromstring(draw(PANELS[kind])).itertext())
    assert PANELS[kind].title in words


@pytest.mark.parametrize("kind", PANELS)
def test_colours_follow_the_readers_light_or_dark_mode(kind: str) -> None:
    svg = re.sub("<style>.*?</style>", "", draw(PANELS[kind]), flags=re.DOTALL)
    unnamed = set(re.findall(r"(?<!, )#[0-9a-f]{6}\b", re.sub(r"\"#[^\"]+\"|url\(#\w+\)", "", svg)))
    allowed = {"#ffffff", "#14202c"} | {colour for colour in unnamed if kind == "heat"}
    assert unnamed <= allowed
    assert f"var(--ink, {COLOURS['ink'][0]})" in svg


def test_a_large_matrix_is_one_picture_instead_of_thousands_of_shapes() -> None:
    count = 60
    values = tuple(tuple(1.0 if i == j else 0.1 + 0.001 * (i + j) for j in range(count)) for i in range(count))
    svg = draw(HeatPanel("Cosine", tuple(f"l{i}" for i in range(count)), values))
    assert "data:image/png;base64" in svg
    assert len(svg) < 300_000


def test_figures_of_one_page_share_no_ids() -> None:
    ids = [re.findall(r' id="([^"]+)"', draw(panel)) for panel in PANELS.values()]
    together = [name for names in ids for name in names]
    assert len(together) == len(set(together))


def test_the_colours_of_systems_differ_in_light_and_in_dark() -> None:
    for mode in (0, 1):
        assert len({colours[mode] for colours in COLOURS.values()}) == len(COLOURS)


def test_a_curve_that_leaves_0_to_1_is_shown_whole() -> None:
    curve = Curve("ties", (0.8, 1.3, 1.8), (0.1, 0.0, 0.2), (0.0, 0.0, 0.0), "arithmetic", True)
    words = ElementTree.fromstring(draw(LambdaPanel("X", "l", (curve,), (), (1.8, 0.2)))).itertext()
    numbers = [float(word) for word in words if re.fullmatch(r"[0-9.]+", word.strip())]
    assert any(1.4 < number < 1.9 for number in numbers) and not any(0.4 < number < 0.7 for number in numbers)


def test_an_axis_of_close_scores_has_no_number_to_add_to_its_ticks() -> None:
    near = Curve("en + es", XS, (2.02311, 2.02302, 2.02315), (0.0, 0.0, 0.0), "arithmetic", True)
    for panel in (
        LambdaPanel("Galician", "lambda", (near,), (), (0.5, 2.02302)),
        TrainingPanel("Galician", "2.023", (near,), (), (2.0230, 2.0232)),
    ):
        words = [word.strip() for word in ElementTree.fromstring(draw(panel)).itertext()]
        assert not any(word.startswith("+") for word in words)
        assert any(word.startswith("2.0231") for word in words)


def test_budgets_stand_at_their_places_on_a_logarithmic_axis() -> None:
    words = list(ElementTree.fromstring(draw(PANELS["budget"])).itertext())
    assert {"200", "10 k", "2.5 M"} <= {word.strip() for word in words}
