"""The lineage tree, read from the records of a small finished campaign."""

from __future__ import annotations

import io
import json
import os
import re
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from rich.console import Console

from jobs.errors import InputError
from orchestrator.lineage.tree import Node, as_mermaid, as_plain, as_text, lineage_tree
from orchestrator.store.record import CorruptArtifactError
from tests.orchestrator.lineage_campaign import BACKBONE, Campaign, Size, make_campaign


@pytest.fixture
def campaign(tmp_path: Path) -> Campaign:
    return make_campaign(tmp_path / "ws", Size(("en", "es", "pt")))


def nodes(root: Node) -> Iterator[Node]:
    yield root
    for child in root.children:
        yield from nodes(child)


def printed(root: Node) -> str:
    out = io.StringIO()
    Console(file=out, width=400).print(as_text(root))
    return out.getvalue()


def test_the_tree_of_a_merge_goes_down_to_every_corpus_and_the_backbone(campaign: Campaign) -> None:
    root = lineage_tree(campaign.store, campaign.keys("merge")[0])
    kinds = Counter(node.kind for node in nodes(root) if not node.above)
    assert kinds == {
        "merge": 1,
        "language-adapter": 4,  # en and es of two seeds
        "initial-adapter": 1,
        "task-adapter": 2,
        "search": 1,
        "corpus": 2,
        "task-data": 2,
        "backbone": 1,
    }
    assert next(n for n in nodes(root) if n.kind == "backbone").sha256 == BACKBONE.revision


def test_parents_carry_their_lambda_and_the_merge_its_test_score(campaign: Campaign) -> None:
    root = lineage_tree(campaign.store, campaign.keys("merge")[0])
    weights = {node.role: node.weight for node in root.children if node.kind == "language-adapter"}
    assert weights == {"language:en@42": 0.5, "language:es@42": 0.5}
    assert dict(root.facts)["test ner f1"] == "55.2"


def test_the_sha256_is_that_of_the_weights_on_disk(campaign: Campaign) -> None:
    key = campaign.keys("merge")[0]
    root = lineage_tree(campaign.store, key)
    recorded = json.loads((campaign.store.path(key) / "record.json").read_text())
    assert root.sha256 == recorded["files"]["adapter.safetensors"][0]
    assert len(root.sha256) == 64


def test_json_holds_full_digests_and_weights(campaign: Campaign) -> None:
    root = lineage_tree(campaign.store, campaign.keys("merge")[0])
    plain = json.loads(json.dumps(as_plain(root)))
    assert plain["sha256"] == root.sha256
    assert [child.get("weight") for child in plain["children"]][:2] == [0.5, 0.5]
    assert len(str(plain).split("'key'")) - 1 == len(list(nodes(root)))


def test_mermaid_declares_every_node_once_and_points_from_parents_to_children(campaign: Campaign) -> None:
    root = lineage_tree(campaign.store, campaign.keys("merge")[0])
    lines = as_mermaid(root).splitlines()
    declared = [match[1] for line in lines if (match := re.match(r'    (n\d+)\["', line))]
    assert lines[0] == "flowchart BT"
    assert len(declared) == len(set(declared)) == len({node.key for node in nodes(root)})
    edges = [line for line in lines if "-->" in line]
    assert all(set(re.findall(r"\bn\d+\b", re.sub(r'"[^"]*"', "", line))) <= set(declared) for line in edges)
    assert sum('-- "0.5" --> n0' in line for line in edges) == 2


def test_text_shows_scores_weights_and_short_digests_on_one_line_each(campaign: Campaign) -> None:
    root = lineage_tree(campaign.store, campaign.keys("merge")[0])
    text = printed(root)
    assert text.startswith(f"{root.key}  sha256:{root.sha256[:12]}  seed 42  test ner f1 55.2")
    assert "0.5 x language-adapter/en-s42-" in text
    assert text.count("backbone/tiny-xlmr") == 1
    assert "corpus/cldr/es  babel-2.18.0" in text


@pytest.mark.parametrize("shape", ["key", "name", "start of the key", "start of the name", "directory"])
def test_an_artifact_is_found_by(shape: str, campaign: Campaign) -> None:
    key = campaign.keys("merge")[0]
    given = {
        "key": key,
        "name": key.partition("/")[2],
        "start of the key": key[:-6],
        "start of the name": "gl-ner-s42",
        "directory": str(campaign.store.path(key)),
    }[shape]
    assert lineage_tree(campaign.store, given).key == key


def test_a_name_that_fits_several_is_refused_with_all_of_them(campaign: Campaign) -> None:
    with pytest.raises(InputError) as caught:
        lineage_tree(campaign.store, "gl-ner-s")
    assert all(key in str(caught.value) for key in campaign.keys("merge"))


def test_a_typo_is_refused_with_the_closest_names(campaign: Campaign) -> None:
    with pytest.raises(InputError, match=re.escape(campaign.keys("merge")[0])):
        lineage_tree(campaign.store, "gl-nr-s42")


@pytest.mark.parametrize("name", ["", "zzz", "../../etc"])
def test_a_name_that_is_like_nothing_is_refused(name: str, campaign: Campaign) -> None:
    with pytest.raises(InputError, match="no such adapter"):
        lineage_tree(campaign.store, name)


def test_an_input_that_was_deleted_is_shown_as_missing(campaign: Campaign) -> None:
    gone = campaign.keys("language-adapter")[0]
    shutil.rmtree(campaign.store.path(gone))
    root = lineage_tree(campaign.store, campaign.keys("merge")[0])
    missing = {node.key for node in nodes(root) if node.kind == "missing"}
    assert missing == {gone}
    assert "not in this workspace" in printed(root)


def test_a_record_that_cannot_be_read_is_an_error(campaign: Campaign) -> None:
    (campaign.store.path(campaign.keys("search")[0]) / "record.json").write_text("{")
    with pytest.raises(CorruptArtifactError):
        lineage_tree(campaign.store, campaign.keys("merge")[0])


def test_an_evaluation_and_a_single_adapter_have_trees_too(campaign: Campaign) -> None:
    evaluation = lineage_tree(campaign.store, campaign.keys("evaluation")[0])
    assert {node.kind for node in evaluation.children} >= {"language-adapter", "task-adapter", "task-data"}
    adapter = lineage_tree(campaign.store, campaign.keys("language-adapter")[0])
    assert [node.kind for node in adapter.children] == ["initial-adapter", "corpus", "backbone"]


def test_the_tree_needs_neither_mlflow_nor_torch() -> None:
    code = "import sys, orchestrator.lineage.tree; print({'mlflow', 'torch', 'ray'} & set(sys.modules))"
    root = Path(__file__).resolve().parents[3]
    environment = {**os.environ, "PYTHONPATH": str(root)}
    out = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "set()"
