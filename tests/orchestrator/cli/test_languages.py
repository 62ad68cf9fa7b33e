import matplotlib.image
import numpy as np
import pytest
from rich.console import Console

from jobs.errors import InputError
from orchestrator.cli.languages import related_table
from orchestrator.plots.language_map import coasts, draw_map


def _text(table):
    console = Console(width=140)
    with console.capture() as captured:
        console.print(table)
    return captured.get()


def _rows(text):
    return [[cell.strip() for cell in line.strip("│").split("│")] for line in text.splitlines() if "│" in line]


def test_the_table_ranks_the_pool_and_shows_the_numbers():
    text = _text(related_table("gl", ["fr", "pt", "en", "es"], "geographic"))
    assert [row[:3] for row in _rows(text)] == [
        ["1", "pt", "Portuguese"],
        ["2", "es", "Spanish"],
        ["3", "fr", "French"],
        ["4", "en", "English"],
    ]
    assert "Related to gl (Galician) by geographic distance" in text
    assert "0.0138" in text
    assert "source: lang2vec 1.1.2 features, rebuilt" in text


def test_several_kinds_have_a_column_each():
    table = related_table("gl", ["pt", "es"], "mixed")
    assert [column.header for column in table.columns] == [
        *("rank", "code", "language", "distance"),
        *("syntactic", "geographic", "genetic"),
    ]


def test_languages_without_data_come_last_and_say_so():
    rows = _rows(_text(related_table("gl", ["sk", "pt"], "syntactic")))
    assert rows[-1] == ["", "sk", "Slovak", "no data"]


def test_equally_near_languages_share_a_rank_and_the_caption_says_so():
    text = _text(related_table("zh", ["tr", "es", "ar"], "genetic"))
    assert [row[0] for row in _rows(text)] == ["1", "1", "1"]
    assert "equally near: ar, es, tr" in text


def test_warnings_of_macro_languages_are_in_the_caption():
    assert "zh is a macro-language" in _text(related_table("zh", ["ja"]))


def test_an_unknown_target_is_refused_with_a_suggestion():
    with pytest.raises(InputError, match="did you mean ja"):
        related_table("jp", ["zh"])


@pytest.mark.parametrize(
    ("pool", "targets"), [(["es", "pt", "fr"], ["gl"]), (["en", "zh", "sw", "mi", "qu"], ["gl", "en"])]
)
def test_the_map_is_a_picture_with_the_two_groups_in_their_colours(tmp_path, pool, targets):
    assert draw_map(pool, targets, tmp_path / "map.png") == ()
    pixels = matplotlib.image.imread(tmp_path / "map.png")[:, :, :3]
    assert pixels.shape[1] == 1650
    for colour in ((0x1F, 0x5F, 0xA8), (0xC8, 0x40, 0x1F)):
        near = abs(pixels * 255 - colour).max(axis=2) < 4
        assert near.sum() > 100


def test_the_map_says_which_languages_it_leaves_off(tmp_path):
    assert draw_map(["es", "tok"], ["gl"], tmp_path / "map.svg") == ("tok",)
    assert (tmp_path / "map.svg").read_text().startswith("<?xml")


def test_a_map_without_any_place_is_refused(tmp_path):
    with pytest.raises(InputError, match="no coordinates"):
        draw_map(["tok"], [], tmp_path / "map.png")
    with pytest.raises(InputError, match="no language to draw"):
        draw_map([], [], tmp_path / "map.png")
    assert list(tmp_path.iterdir()) == []


def test_the_coasts_lie_where_places_are_known_to_lie():
    lines = coasts()
    assert all(-180 <= x <= 180 and -60 <= y <= 84 for line in lines for x, y in line) and min(map(len, lines)) > 1
    points = np.array([point for line in lines for point in line])
    # Cape Agulhas, Cape Finisterre, Land's End, Cape Comorin, Cape Horn's island; the map is thinned to 0.12 degrees.
    for cape in ((20.0, -34.8), (-9.3, 42.9), (-5.7, 50.1), (77.5, 8.1), (-67.3, -55.9)):
        assert np.abs(points - cape).max(axis=1).min() < 1.5, cape
    for inland in ((10.0, 50.0), (100.0, 60.0), (-100.0, 45.0), (20.0, 0.0)):
        assert np.abs(points - inland).max(axis=1).min() > 2.5, inland
