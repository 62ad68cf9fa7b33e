"""Which prediction heads are one and the same, and what may become of those that are not."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from tiny_adapters import save_hub, write_recipe

from jobs.errors import InputError
from jobs.merging.merge import merge

WEIGHTED = [{"adapter": "s1", "weight": 0.25}, {"adapter": "s2", "weight": 0.75}]


@pytest.fixture
def headed(tmp_path: Path) -> Path:
    """Two adapters with heads of three labels."""
    for seed in (1, 2):
        save_hub(tmp_path / f"s{seed}", "bottleneck", seed, labels=3)
    return tmp_path


def edit_head(directory: Path, nested: bool = True, **changes: object) -> None:
    path = directory / "head_config.json"
    config = json.loads(path.read_text())
    (config["config"] if nested else config).update(changes)
    path.write_text(json.dumps(config))


def merged(folder: Path, **more: object) -> Path:
    recipe = write_recipe(folder / "r.yaml", **{"method": "linear", "sources": WEIGHTED, "name": "gl", **more})
    return merge(recipe, folder / "out").path


def test_who_wrote_a_head_and_its_dropout_do_not_tell_heads_apart(headed):
    edit_head(headed / "s2", dropout_prob=0.3)
    edit_head(headed / "s2", nested=False, model_class="XLMRobertaForTokenClassification", version="adapters.1.0.0")
    out = merged(headed)
    one, two = (torch.load(headed / name / "pytorch_model_head.bin", weights_only=True) for name in ("s1", "s2"))
    result = load_file(out / "model_head.safetensors")
    for name in result:
        first, second = (head[name.replace(".gl.", f".a{seed}.")] for seed, head in ((1, one), (2, two)))
        assert result[name].allclose(0.25 * first + 0.75 * second)


@pytest.mark.parametrize(
    ("nested", "changes", "named"),
    [
        (True, {"label2id": {"O": 0, "PER": 2, "LOC": 1}}, "config.label2id of s1 and s2"),
        (True, {"activation_function": "gelu", "layers": 2}, "config.activation_function, config.layers of s1 and s2"),
        (False, {"hidden_size": 64}, "hidden_size of s1 and s2"),
    ],
)
def test_what_differs_between_heads_is_named(headed, nested, changes, named):
    edit_head(headed / "s1", label2id={"O": 0, "PER": 1, "LOC": 2})
    edit_head(headed / "s2", label2id={"O": 0, "PER": 1, "LOC": 2})
    edit_head(headed / "s2", nested, **changes)
    with pytest.raises(InputError) as error:
        merged(headed)
    assert f"prediction heads differ (got {named})" in str(error.value)


def test_only_policies_that_the_rule_takes_are_offered(headed):
    bare = save_hub(headed / "s3", "bottleneck", 3)
    with pytest.raises(InputError, match="head: merge, first, mean or drop"):
        merged(headed, sources=[WEIGHTED[0], {"adapter": bare.name, "weight": 1.0}])
    plain = [{"adapter": "s1"}, {"adapter": "s2"}]
    with pytest.raises(InputError, match="say in the recipe: head: first, mean or drop"):
        merged(headed, method="slerp", sources=plain, options={"t": 0.5})
    for policy in ("first", "mean", "drop"):
        recipe = {"method": "slerp", "sources": plain, "options": {"t": 0.5}, "name": "gl", "head": policy}
        out = merge(write_recipe(headed / "r.yaml", **recipe), headed / policy).path
        assert (out / "model_head.safetensors").exists() == (policy != "drop")
