"""Related languages by the texts of a campaign's corpora, and a campaign that travels with what its plan reads."""

from collections import Counter
from math import log2

import yaml

from orchestrator.campaign.load import load_campaign
from orchestrator.clusters.bundle import CAMPAIGN_FILE, write_bundle
from orchestrator.plan.index import index
from orchestrator.plan.pinned_references import References
from orchestrator.plan.plan import plan_campaign
from tests.orchestrator.campaign_files import planned, write_data

# Words of which Galician shares all with Portuguese, half with Spanish.
WORDS = {"gl": "lua dous", "pt": "lua dous", "es": "lua perro", "en": "dog moon"}


def write_texts(folder, lines=80):
    write_data(folder)
    for code, words in WORDS.items():
        for split in ("train", "validation", "test"):
            text = "".join(f'{{"text": "{words} {words}"}}\n' for _ in range(lines if code != "gl" else 80))
            (folder / "data" / f"{code}-{split}.jsonl").write_text(text)


def trigram_distance(one, other):
    """1 - D of two lines' trigrams from the entropies: H(m) - (H(p) + H(q)) / 2 is D."""

    def shares(line):
        text = f" {line} {line} "
        counts = Counter(text[i : i + 3] for i in range(len(text) - 2))
        return {unit: count / counts.total() for unit, count in counts.items()}

    def entropy(values):
        return -sum(value * log2(value) for value in values if value)

    p, q = shares(one), shares(other)
    middle = [(p.get(unit, 0) + q.get(unit, 0)) / 2 for unit in p.keys() | q.keys()]
    return entropy(middle) - (entropy(p.values()) + entropy(q.values())) / 2


def test_a_campaign_chooses_by_the_texts_of_its_corpora(tmp_path):
    write_texts(tmp_path)
    plan = planned(tmp_path, {"comparisons.0.related": {"by": "characters", "top": 2}})
    (made, *_) = (one for one in index(plan)["comparisons"] if one["target"] == "gl")
    assert made["related"]["by"] == "characters" and made["related"]["source"].startswith(
        "texts, by character trigrams"
    )
    (first, near), (second, far) = made["related"]["ranking"]
    assert (first, second) == ("pt", "es") and near == 0.0
    assert far == round(trigram_distance(WORDS["gl"], WORDS["es"]), 4)
    assert made["related"]["used"] == [{"characters": near}, {"characters": far}]
    assert list((tmp_path / "cache" / "units").glob("characters-gl-train-*.json"))


def test_a_corpus_that_is_too_short_to_choose_by_is_left_out_and_said(tmp_path):
    write_texts(tmp_path, lines=2)
    plan = planned(tmp_path, {"comparisons.0.related": {"by": ["characters", "genetic"], "top": 1}})
    (made, *_) = (one for one in index(plan)["comparisons"] if one["target"] == "gl")
    assert made["related"]["by"] == "genetic"
    said = made["related"]["notes"][0]
    assert "by characters; es: the text has 38 character trigrams, and a comparison needs 300, 8 times" in said


def test_a_table_of_distances_travels_with_its_campaign(tmp_path):
    write_data(tmp_path)
    table = tmp_path / "mine.tsv"
    table.write_text("a\tb\tkind\tdistance\ngl\tpt\tgenetic\t0.9\ngl\tes\tgenetic\t0.1\n")
    related = {"by": "mixed", "source": str(table)}
    there = write_bundle(planned(tmp_path, {"comparisons.0.related": related}), tmp_path / "bundle")
    table.unlink()
    moved = yaml.safe_load((there / CAMPAIGN_FILE).read_text())["comparisons"][0]["related"]["source"]
    assert moved == f"${{here}}/files{table}"
    again = plan_campaign(load_campaign(there / CAMPAIGN_FILE), References(tmp_path / "other"))
    assert {one.code for one in again.comparisons[0].related.chosen} == {"es"}
