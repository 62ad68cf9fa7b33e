"""What a choice of languages is worth, on scores made up so that every number is known."""

import itertools

import pytest
from scipy.stats import rankdata

from benchmarks.selection_table import Target, interval, rows_of, summary, to_test

# Test scores; validation ones are alike, but for what is said. F1: higher is better.
NER = {
    "en": [50.0, 50.0],
    "es": [60.0, 60.0],
    "ru": [40.0, 55.0],
    "en+es@0.5": [62.0, 58.0],
    "en+ru@0.5": [45.0, 52.0],
    "es+ru@0.5": [61.0, 66.0],
    "mean": [48.0, 57.0],
    "tipa:mixed": [0.0, 61.0],
}
SETTINGS = {
    "targets": ["gl", "uk"],
    "tasks": {"ner": {"metric": "f1", "better": "max"}, "text": {"metric": "mlm_loss", "better": "min"}},
    "anchors": {"ner": "en", "text": "en"},
    "lambdas": [0.5],
}


def method(**order):
    return {"order": order, "fallbacks": {}, "unlabelled": 0, "needs": "nothing"}


def document():
    loss = {name: [100 - one, 100 - other] for name, (one, other) in NER.items()}
    scores = {f"{task}/{target}": own for task, own in (("ner", NER), ("text", loss)) for target in ("gl", "uk")}
    near, far = [["es", 0], ["ru", 1], ["en", 2]], [["en", 0], ["ru", 1], ["es", 2]]
    methods = {"mixed": method(gl=near, uk=far), "loss": method(gl=near, uk=near), "vectors": method(gl=near)}
    return {"settings": SETTINGS, "scores": scores, "methods": methods}


def test_regrets_of_one_target_by_hand():
    one = Target(NER, "max", "en", [0.5])
    assert one.pool == ["en", "es", "ru"]
    assert [one.single(code) for code in one.pool] == [10.0, 0.0, 5.0]
    # The best pair is es+ru: 61 on validation data, 66 on test data. Of en and es the middle is chosen: 58.
    assert one.best_pair == 66.0 and one.pair("es") == 8.0 and one.half("es") == 8.0
    assert one.pair("ru") == 16.0 and one.half("ru") == 14.0, "en alone is chosen, 50"
    assert one.whole("tipa:mixed") == 5.0
    assert one.by_validation(["en", "ru"]) == "en" and one.pair_by_validation(["es", "ru"]) == "es"


def test_only_what_a_table_needs_is_tested():
    validation = {name: one for name, (one, _) in NER.items()}
    assert to_test(validation, "max", "en", [0.5]) == list(NER), "every middle is chosen, or needs no label"
    # By loss en is the best of its pairs, and es the best of es and ru, whose middle is then not tested.
    loss = {**validation, "es+ru@0.5": 70.0}
    assert [name for name in NER if name not in to_test(loss, "min", "en", [0.5])] == ["es+ru@0.5"]
    scores = {name: [value, None if name == "es+ru@0.5" else 1.0] for name, value in loss.items()}
    assert Target(scores, "min", "en", [0.5]).best_pair == -1.0


def test_rank_correlation_is_spearmans_of_nearness_and_score():
    scores = {"en": [0, 3.0], "es": [0, 9.0], "ru": [0, 4.0], "tr": [0, 1.0]}
    one = Target(
        {**scores, **{f"{a}+{b}@0.5": [0, 0] for a, b in itertools.combinations(scores, 2)}}, "max", "en", [0.5]
    )
    order = [["es", 0], ["tr", 1], ["ru", 2]]  # en has no place: it comes last
    near, good = rankdata([-4, 0, -2, -1]), rankdata([3, 9, 4, 1])
    expected = 1 - 6 * sum((near - good) ** 2) / (4 * (16 - 1))
    assert one.rank_correlation(order) == pytest.approx(expected)
    assert one.rank_correlation([[code, 0] for code in scores]) == 0.0, "an order that tells none apart says nothing"


def test_rows_have_the_same_regrets_whatever_the_metrics_direction():
    tables = {task: {row["method"]: row for row in rows_of(document(), task)} for task in ("ner", "text")}
    assert tables["ner"].keys() == tables["text"].keys()
    for name, row in tables["ner"].items():
        for kind in ("single", "pair"):
            assert row.get(kind) == pytest.approx(tables["text"][name].get(kind)), name
    found = tables["ner"]
    assert found["mixed"]["single"] == {"gl": 0.0, "uk": 10.0} and found["mixed"]["best"] == 1
    assert found["mixed"]["pair"] == {"gl": 8.0, "uk": 16.0}, "the task's own language is no partner of itself"
    assert found["random"]["single"]["gl"] == 5.0 and found["random"]["pair"]["gl"] == 12.0
    assert found["always en"]["regret"][0] == 10.0 and found["always en"]["regret of random"] == 2.0
    assert found["every adapter, by labels"]["regret"][0] == 0.0 and found["every adapter, by labels"]["labelled"] == 3
    assert found["every pair with en, by labels"]["labelled"] == 5, "en, es, ru and two middles"
    assert found["vectors"]["targets"] == 1 and found["loss"]["rho"][0] > found["mixed"]["rho"][0]


def test_the_summary_compares_with_mixed_on_the_same_targets():
    tables = {task: rows_of(document(), task) for task in ("ner", "text")}
    rows = {row["method"]: row for row in summary(tables, "single")}
    assert rows["random"]["of random"][0] == 1.0 and rows["mixed"]["of random"][0] == 1.0
    assert rows["loss"]["of random"] == [0.0, 0.0, 0.0] and rows["loss"]["of mixed"] == 0.0
    assert rows["loss"]["less than mixed"] == [1.0, 0.0, 2.0]  # gl: none, uk: 10 of random's 5
    assert rows["vectors"]["of mixed"] is None, "mixed has no regret on gl alone"
    order = [row["method"] for row in summary(tables, "single")]
    assert set(order[:3]) == {"loss", "vectors", "every adapter, by labels"} and order[-1] == "always en"


def test_an_interval_over_targets_holds_the_mean_and_narrows_with_more_targets():
    few, many = interval([1.0, 3.0]), interval([1.0, 3.0] * 50)
    assert few == [2.0, 1.0, 3.0]
    # Of 100 draws of 1 or 3 the mean's standard error is 0.1.
    assert many[0] == 2.0 and many[1] == pytest.approx(1.8, abs=0.03) and many[2] == pytest.approx(2.2, abs=0.03)
