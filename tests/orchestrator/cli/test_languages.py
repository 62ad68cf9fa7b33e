import matplotlib.image
import numpy as np
import pytest
from rich.console import Console

from jobs.errors import InputError
from orchestrator.cli.languages import related, related_table
from orchestrator.cli.relatedness import Asked
from orchestrator.plots.language_map import coasts, draw_map
from search_spaces.relatedness.ranking import rank


def _text(table):
    console = Console(width=140)
    with console.capture() as captured:
        console.print(table)
    return captured.get()


def _rows(text):
    return [[cell.strip() for cell in line.strip("│").split("│")] for line in text.splitlines() if "│" in line]


def test_the_table_ranks_the_pool_and_shows_the_numbers():
    text = _text(related_table(rank("gl", ["fr", "pt", "en", "es"], "geographic")))
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
    table = related_table(rank("gl", ["pt", "es"], "mixed"))
    assert [column.header for column in table.columns] == [
        *("rank", "code", "language", "distance"),
        *("syntactic", "geographic", "genetic"),
    ]


def test_languages_without_data_come_last_and_say_so():
    rows = _rows(_text(related_table(rank("gl", ["sk", "pt"], "syntactic"))))
    assert rows[-1] == ["", "sk", "Slovak", "no data"]


def test_equally_near_languages_share_a_rank_and_the_caption_says_so():
    text = _text(related_table(rank("zh", ["tr", "es", "ar"], "genetic")))
    assert [row[0] for row in _rows(text)] == ["1", "1", "1"]
    assert "equally near: ar, es, tr" in text


def test_warnings_of_macro_languages_are_in_the_caption():
    assert "zh is a macro-language" in _text(related_table(rank("zh", ["ja"])))


def test_an_unknown_target_is_refused_with_a_suggestion():
    with pytest.raises(InputError, match="did you mean ja"):
        related(target="jp", pool="zh", campaign="", text=None, out=None)


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


def write_texts(folder, **texts):
    for code, text in texts.items():
        (folder / f"{code}.txt").write_text("\n".join([text] * 60))
    return str(folder / "{language}.txt")


def test_languages_are_ranked_by_the_texts_of_files(tmp_path):
    (tmp_path / "own.txt").write_text("\n".join(["lúa dous camiños"] * 60))
    corpora = write_texts(tmp_path, pt="lua dois caminhos", es="luna dos caminos", en="moon two ways", el="φεγγάρι")
    asked = Asked("characters", tmp_path / "own.txt", corpora)
    pool = ["en", "es", "pt", "el", "fr"]
    text = _text(related_table(rank("gl", pool, "characters", asked.text_distances("gl", pool, tmp_path))))
    rows = _rows(text)
    assert [row[1] for row in rows[:3]] == ["es", "pt", "en"] or [row[1] for row in rows[:3]] == ["pt", "es", "en"]
    assert {row[1]: row[3] for row in rows[3:]} == {"el": "no data", "fr": "no data"}
    assert "texts, by character trigrams" in text and "fr: there is no text" in text


def test_a_text_that_is_too_short_is_refused_with_how_much_it_needs(tmp_path):
    (tmp_path / "own.txt").write_text("unha liña")
    asked = Asked("overlap+characters", tmp_path / "own.txt", write_texts(tmp_path, pt="lua dois"))
    with pytest.raises(InputError) as caught:
        asked.text_distances("gl", ["pt"], tmp_path)
    assert len(caught.value.faults) == 2
    assert "the text has 9 character trigrams, and a comparison needs 300, 33 times as much" in str(caught.value)
    with pytest.raises(InputError, match="there is no such file"):
        Asked("overlap", tmp_path / "none.txt").text_distances("gl", ["pt"], tmp_path)


def test_a_kind_that_one_pair_lacks_is_shown_as_no_data():
    rows = _rows(_text(related_table(rank("gl", ["sk", "pt"], "mixed"))))
    assert [row[1] for row in rows] == ["pt", "sk"] and rows[1][4] == "no data" and float(rows[1][5]) > 0
