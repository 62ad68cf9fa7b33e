"""The merged directory: the same bytes every time, all or nothing, and a card whose snippet works."""

from __future__ import annotations

import hashlib
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import adapters
import pytest
import torch
import yaml
from peft import get_peft_model
from tiny_adapters import (
    HUB_CONFIGS,
    PEFT_CONFIGS,
    hub_model,
    llama,
    randomize,
    save_hub,
    save_peft,
    write_recipe,
)

from jobs.errors import InputError
from jobs.merging.merge import merge

REPOSITORY = Path(__file__).parents[3]
FILES = {
    "hub": {
        "README.md",
        "adapter.safetensors",
        "adapter_config.json",
        "merge.json",
        "pytorch_adapter.bin",
        "recipe.yaml",
    },
    "peft": {"README.md", "adapter_config.json", "adapter_model.safetensors", "merge.json", "recipe.yaml"},
}


def recipe_for(folder: Path, kind: str, save, **more: object) -> Path:
    for seed in (1, 2):
        save(folder / f"s{seed}", kind, seed)
    listed = [{"adapter": f"s{i}", "weight": w} for i, w in ((1, 0.35), (2, 0.65))]
    return write_recipe(folder / "recipe.yaml", **{"method": "linear", "sources": listed, "name": "gl", **more})


def digests(directory: Path) -> dict[str, str]:
    return {file.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in sorted(directory.iterdir())}


SEVERAL = (
    ("madx", save_hub, {}),
    ("lora", save_hub, {"rank": 2}),
    ("rslora", save_peft, {}),
    ("lokr", save_peft, {"rank": 5}),
    ("madx", save_hub, {"method": "dare", "base": "zero", "options": {"density": 0.5, "seed": 7}}),
)


def test_the_same_recipes_give_the_same_bytes_in_two_processes(tmp_path):
    pairs = {1: [], 2: []}
    for number, (kind, save, more) in enumerate(SEVERAL):
        (tmp_path / str(number)).mkdir()
        recipe = recipe_for(tmp_path / str(number), kind, save, **more)
        for process, listed in pairs.items():
            listed.append((str(recipe), str(tmp_path / f"process{process}" / str(number))))
    for recipe, out in pairs[1]:
        merge(recipe, out)
    code = f"from jobs.merging.merge import merge\nfor recipe, out in {pairs[2]!r}: merge(recipe, out)"
    environment = {**os.environ, "PYTHONHASHSEED": "2", "PYTHONPATH": str(REPOSITORY)}
    subprocess.run([sys.executable, "-c", code], check=True, env=environment, cwd=tmp_path)
    for number in range(len(SEVERAL)):
        assert digests(tmp_path / "process1" / str(number)) == digests(tmp_path / "process2" / str(number))


@pytest.mark.parametrize(("kind", "save", "layout"), [("madx", save_hub, "hub"), ("lora", save_peft, "peft")])
def test_the_directory_holds_the_adapter_its_card_its_recipe_and_its_parents(tmp_path, kind, save, layout):
    recipe = recipe_for(tmp_path, kind, save)
    report = merge(recipe, tmp_path / "out")
    assert {file.name for file in report.path.iterdir()} == FILES[layout]
    assert (report.path / "recipe.yaml").read_bytes() == recipe.read_bytes()
    record = json.loads((report.path / "merge.json").read_text())
    for parent, name in zip(record["parents"], ("s1", "s2"), strict=True):
        for filename, digest in parent["files"].items():
            assert digest == hashlib.sha256((tmp_path / name / filename).read_bytes()).hexdigest()
        assert parent["sha256"] in parent["files"].values()
        assert parent["sha256"] in (report.path / "README.md").read_text()
    for filename, digest in record["outputs"].items():
        assert digest == hashlib.sha256((report.path / filename).read_bytes()).hexdigest()
    assert [parent["weight"] for parent in record["parents"]] == [0.35, 0.65]


def test_no_path_of_this_machine_and_no_time_stands_in_the_output(tmp_path):
    report = merge(recipe_for(tmp_path, "madx", save_hub), tmp_path / "out")
    for file in report.path.iterdir():
        assert str(tmp_path).encode() not in file.read_bytes()


def test_a_merge_that_fails_half_way_leaves_nothing(tmp_path):
    recipe = recipe_for(tmp_path, "madx", save_hub)
    path = tmp_path / "s2" / "pytorch_adapter.bin"
    tensors = torch.load(path, weights_only=True)
    # Last in the file: everything else has been written when it is found.
    tensors[sorted(tensors)[-1]][0] = float("inf")
    torch.save(tensors, path)
    before = sorted(file.name for file in tmp_path.iterdir())
    with pytest.raises(InputError):
        merge(recipe, tmp_path / "out")
    assert sorted(file.name for file in tmp_path.iterdir()) == before


def test_paths_start_at_the_recipe_wherever_the_command_runs(tmp_path, monkeypatch):
    recipe = recipe_for(tmp_path, "madx", save_hub)
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert merge(recipe, Path("out")).path.is_dir()


def test_paths_may_also_start_at_the_working_directory(tmp_path, monkeypatch):
    recipe = recipe_for(tmp_path, "madx", save_hub)
    (tmp_path / "recipes").mkdir()
    recipe.rename(tmp_path / "recipes" / "r.yaml")
    monkeypatch.chdir(tmp_path)
    assert merge(Path("recipes/r.yaml"), Path("out")).path.is_dir()


def snippet(directory: Path) -> str:
    (code,) = re.findall(r"```python\n(.*?)```", (directory / "README.md").read_text(), re.DOTALL)
    return code


def test_the_cards_own_snippet_loads_an_adapterhub_merge(tmp_path, monkeypatch):
    hub_model().save_pretrained(tmp_path / "backbone")
    for seed in (1, 2):
        model = adapters.AutoAdapterModel.from_pretrained(str(tmp_path / "backbone"))
        model.add_adapter(f"a{seed}", config=HUB_CONFIGS["madx"]())
        randomize({n: t for n, t in model.state_dict().items() if f".a{seed}." in n}, seed)
        model.save_adapter(str(tmp_path / f"s{seed}"), f"a{seed}", with_head=False)
    listed = [{"adapter": f"s{seed}", "weight": 0.5} for seed in (1, 2)]
    recipe = write_recipe(tmp_path / "r.yaml", method="linear", sources=listed, name="gl")
    out = merge(recipe, tmp_path / "out").path
    monkeypatch.chdir(out)
    scope: dict[str, object] = {}
    exec(snippet(out), scope)
    model = scope["model"]
    assert scope["name"] == "gl"
    assert model.active_adapters is not None
    loaded = {name: tensor for name, tensor in model.state_dict().items() if ".gl." in name}
    stored = torch.load(out / "pytorch_adapter.bin", weights_only=True)
    assert loaded.keys() == stored.keys()
    assert all(torch.equal(loaded[name], stored[name]) for name in stored)


def test_the_cards_own_snippet_loads_a_peft_merge(tmp_path, monkeypatch):
    llama().save_pretrained(tmp_path / "backbone")
    for seed in (1, 2):
        base = type(llama()).from_pretrained(str(tmp_path / "backbone"))
        model = get_peft_model(base, PEFT_CONFIGS["rslora"]())
        randomize({n: t for n, t in model.named_parameters() if t.requires_grad}, seed)
        model.save_pretrained(str(tmp_path / f"s{seed}"))
    listed = [{"adapter": f"s{seed}", "weight": 0.5} for seed in (1, 2)]
    recipe = write_recipe(tmp_path / "r.yaml", method="linear", sources=listed, name="gl", space="delta")
    out = merge(recipe, tmp_path / "out").path
    monkeypatch.chdir(out)
    scope: dict[str, object] = {}
    exec(snippet(out), scope)
    assert scope["model"].peft_config["default"].r == 8
    assert scope["model"].peft_config["default"].rank_pattern


def test_the_card_tells_the_backbone_the_rule_and_the_truncation(tmp_path):
    text = (merge(recipe_for(tmp_path, "lora", save_hub, rank=2), tmp_path / "out").path / "README.md").read_text()
    assert text.startswith("---\nlibrary_name: adapters\n")
    assert "merged from 2 adapters by `linear` in the space `delta`" in text
    assert "Relative Frobenius error of delta W" in text


@pytest.mark.parametrize(
    ("more", "told", "untold"),
    [
        ({}, "", ("divided by their sum", "left out")),
        ({"options": {"normalize": True}}, "divided by their sum", ("left out",)),
        ({"head": "drop"}, "Heads and modules that were trained whole are left out", ("divided by their sum",)),
    ],
)
def test_the_card_tells_what_was_normalized_and_left_out(tmp_path, more, told, untold):
    text = (merge(recipe_for(tmp_path, "madx", save_hub, **more), tmp_path / "out").path / "README.md").read_text()
    assert told in text
    assert not [words for words in (*untold, "Nothing was normalized") if words in text]


def test_a_hostile_backbone_name_cannot_break_out_of_the_card(tmp_path):
    recipe = recipe_for(tmp_path, "madx", save_hub)
    evil = 'x`\n---\n| <script>alert(1)</script>"); import os #'
    for seed in (1, 2):
        path = tmp_path / f"s{seed}" / "adapter_config.json"
        path.write_text(json.dumps({**json.loads(path.read_text()), "model_name": evil}))
    out = merge(recipe, tmp_path / "out").path
    text = (out / "README.md").read_text()
    assert "<script>" not in text.split("```python")[0].split("---\n", 2)[2]
    assert yaml.safe_load(text.split("---\n", 2)[1])["base_model_relation"] == "merge"
    calls = [line for line in snippet(out).splitlines() if "import os" in line]
    # The name stays inside one Python string.
    assert calls == [f"model = AutoAdapterModel.from_pretrained({evil!r})"]
