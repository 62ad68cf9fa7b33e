"""`merge`, `inspect` and `compare` on the command line: what they print, what they write, how they refuse."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import typer
from typer.testing import CliRunner

from jobs.adapters.adapter import Adapter, StatedBackbone
from jobs.adapters.adapterhub import write_adapter
from jobs.errors import InputError
from orchestrator.cli import adapters as merge_commands

REPOSITORY = Path(__file__).parents[3]
app = typer.Typer()
for command in (merge_commands.merge, merge_commands.inspect, merge_commands.compare):
    app.command()(command)


def save(directory: Path, seed: int, reduction: int = 2) -> Path:
    """A made-up MAD-X adapter of two layers."""
    generator = torch.Generator().manual_seed(seed)
    width = 8 // reduction
    shapes = {
        **{f"roberta.encoder.layer.{i}.output.adapters.*.adapter_down.0.weight": (width, 8) for i in (0, 1)},
        **{f"roberta.encoder.layer.{i}.output.adapters.*.adapter_up.weight": (8, width) for i in (0, 1)},
        "roberta.invertible_adapters.*.F.0.weight": (2, 4),
    }
    tensors = {name: torch.randn(shape, generator=generator) for name, shape in shapes.items()}
    config = {
        "config": {"reduction_factor": reduction, "non_linearity": "relu", "inv_adapter": "nice"},
        "hidden_size": 8,
        "model_name": "tiny",
        "model_type": "xlm-roberta",
        "version": "adapters.1.3.0",
    }
    backbone = StatedBackbone("tiny", 8, "xlm-roberta")
    write_adapter(Adapter("bottleneck", "adapterhub", f"l{seed}", config, tensors, backbone), directory)
    return directory


def invoke(*arguments: object) -> str:
    result = CliRunner().invoke(app, [str(argument) for argument in arguments], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.output


def recipe(folder: Path) -> Path:
    save(folder / "en", 1)
    save(folder / "pt", 2)
    path = folder / "recipe.yaml"
    path.write_text(
        "method: linear\nsources:\n  - {adapter: en, weight: 0.35}\n  - {adapter: pt, weight: 0.65}\nname: gl\n"
    )
    return path


def test_merge_prints_what_it_took_and_writes_the_adapter(tmp_path):
    output = invoke("merge", recipe(tmp_path), "--out", tmp_path / "gl")
    assert "linear" in output
    assert "0.35" in output
    assert "0.65" in output
    assert (tmp_path / "gl" / "adapter.safetensors").exists()


def test_inspect_tells_kind_size_tensors_hash_and_norm(tmp_path):
    save(tmp_path / "en", 1)
    output = invoke("inspect", tmp_path / "en")
    for word in ("bottleneck", "adapterhub", "tiny", "parameters  136", "adapter_down", "sha256"):
        assert word in output
    facts = json.loads(invoke("inspect", tmp_path / "en", "--json"))
    assert facts["parameters"] == 136
    assert facts["bytes"] == 4 * 136
    tensors = torch.load(tmp_path / "en" / "pytorch_adapter.bin", weights_only=True)
    assert facts["norm"] == pytest.approx(sum(float(t.double().square().sum()) for t in tensors.values()) ** 0.5)
    assert facts["non_finite"] == 0


def test_the_hash_that_inspect_tells_does_not_depend_on_the_file_format(tmp_path):
    save(tmp_path / "en", 1)
    first = json.loads(invoke("inspect", tmp_path / "en", "--json"))
    (tmp_path / "en" / "adapter.safetensors").unlink()
    second = json.loads(invoke("inspect", tmp_path / "en", "--json"))
    assert first["sha256"] == second["sha256"]
    assert first["files"] != second["files"]


def test_names_out_of_a_file_can_neither_break_nor_steer_the_terminal(tmp_path):
    save(tmp_path / "en", 1)
    config_path = tmp_path / "en" / "adapter_config.json"
    config = json.loads(config_path.read_text())
    config_path.write_text(json.dumps({**config, "model_name": "[/nothing] \x1b[2Jgone"}))
    output = invoke("inspect", tmp_path / "en")
    assert "[/nothing] ?[2Jgone" in output
    assert "\x1b" not in output


def test_compare_prints_cosines_and_sparsity_per_layer_and_writes_figures(tmp_path):
    for seed in (1, 2, 3):
        save(tmp_path / f"l{seed}", seed)
    for seed in (4, 5):
        save(tmp_path / f"t{seed}", seed, reduction=4)
    output = invoke(
        "compare",
        *(tmp_path / f"l{seed}" for seed in (1, 2, 3)),
        *("--task", tmp_path / "t4", "--task", tmp_path / "t5", "--out", tmp_path / "figures"),
    )
    for word in ("languages: cosine", "tasks: cosine", "sign agreement", "layer 00", "layer 01", "invertible"):
        assert word in output
    names = {file.name for file in (tmp_path / "figures").iterdir()}
    assert names == {
        "comparison.json",
        "cosine.png",
        "density-languages.png",
        "density-tasks.png",
        "trimming-languages.png",
        "trimming-tasks.png",
    }
    for name in names - {"comparison.json"}:
        assert (tmp_path / "figures" / name).read_bytes().startswith(b"\x89PNG")
    document = json.loads((tmp_path / "figures" / "comparison.json").read_text())
    one, two = (
        torch.cat([t.flatten() for _, t in sorted(torch.load(tmp_path / f"l{s}" / "pytorch_adapter.bin").items())])
        for s in (1, 2)
    )
    cosine = torch.nn.functional.cosine_similarity(one.double(), two.double(), dim=0)
    assert document["groups"][0]["parts"]["all"]["cosine"][0][1] == pytest.approx(float(cosine), abs=1e-6)


def test_compare_subtracts_the_base(tmp_path):
    for seed in (1, 2, 3):
        save(tmp_path / f"l{seed}", seed)
    output = invoke(
        "compare", tmp_path / "l1", tmp_path / "l2", "--base", tmp_path / "l3", "--out", tmp_path / "figures"
    )
    assert "cosine" in output
    document = json.loads((tmp_path / "figures" / "comparison.json").read_text())
    vectors = []
    for seed in (1, 2):
        tensors = torch.load(tmp_path / f"l{seed}" / "pytorch_adapter.bin")
        base = torch.load(tmp_path / "l3" / "pytorch_adapter.bin")
        pairs = [t - base[n.replace(f".l{seed}.", ".l3.")] for n, t in sorted(tensors.items())]
        vectors.append(torch.cat([pair.flatten() for pair in pairs]).double())
    cosine = torch.nn.functional.cosine_similarity(*vectors, dim=0)
    assert document["groups"][0]["parts"]["all"]["cosine"][0][1] == pytest.approx(float(cosine), abs=1e-6)


def test_compare_refuses_adapters_that_differ_naming_both(tmp_path):
    save(tmp_path / "l1", 1)
    save(tmp_path / "l2", 2, reduction=4)
    with pytest.raises(InputError, match=r"reduction_factor \(got 2 in .*l1, 4 in .*l2\)"):
        invoke("compare", tmp_path / "l1", tmp_path / "l2", "--out", tmp_path / "figures")
    assert not (tmp_path / "figures").exists()


def test_faults_of_the_user_are_single_lines_and_exit_code_two(tmp_path):
    code = (
        "import sys, typer\n"
        "from jobs.errors import InputError\n"
        "from orchestrator.cli.adapters import merge\n"
        "app = typer.Typer()\n"
        "app.command()(merge)\n"
        "try:\n    app()\n"
        "except InputError as error:\n"
        "    print(*error.faults, sep='\\n', file=sys.stderr)\n    sys.exit(2)\n"
    )
    (tmp_path / "r.yaml").write_text("method: linear\nsources: [{adapter: a, weight: 1}]\nname: x\nspcae: delta\n")
    command = [sys.executable, "-c", code, str(tmp_path / "r.yaml"), "--out", str(tmp_path / "out")]
    result = subprocess.run(command, capture_output=True, text=True, cwd=REPOSITORY)
    assert result.returncode == 2
    assert result.stderr.splitlines() == [f'{tmp_path}/r.yaml:4: spcae: unknown key; did you mean "space"?']
    assert not (tmp_path / "out").exists()


def test_importing_the_commands_loads_neither_torch_nor_matplotlib():
    heavy = "('torch', 'matplotlib', 'ray', 'transformers')"
    code = f"import sys, orchestrator.cli.adapters; print([m for m in {heavy} if m in sys.modules])"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=REPOSITORY)
    assert result.stdout.strip() == "[]"


@pytest.mark.parametrize("dtype", [torch.float8_e4m3fn, torch.float8_e5m2, torch.int8, torch.complex64])
def test_inspect_tells_tensors_of_any_dtype(tmp_path, dtype):
    save(tmp_path / "en", 1)
    (tmp_path / "en" / "adapter.safetensors").unlink()
    path = tmp_path / "en" / "pytorch_adapter.bin"
    values = torch.tensor([3.0, 0.0, -4.0, 0.0]).to(dtype)
    torch.save({name: values.clone() for name in torch.load(path, weights_only=True)}, path)
    invoke("inspect", tmp_path / "en")
    facts = json.loads(invoke("inspect", tmp_path / "en", "--json"))["tensors"][0]
    assert facts["dtype"] == str(dtype).removeprefix("torch.")
    assert (facts["norm"], facts["zeros"], facts["non_finite"]) == (5.0, 0.5, 0)


def test_merging_float8_is_refused_in_words(tmp_path):
    path = recipe(tmp_path)
    for name in ("en", "pt"):
        (tmp_path / name / "adapter.safetensors").unlink()
        weights = tmp_path / name / "pytorch_adapter.bin"
        torch.save({n: t.to(torch.float8_e5m2) for n, t in torch.load(weights, weights_only=True).items()}, weights)
    with pytest.raises(InputError, match=r"cannot hold this dtype \(got torch.float8_e5m2\)"):
        CliRunner().invoke(app, ["merge", str(path), "--out", str(tmp_path / "o")], catch_exceptions=False)
