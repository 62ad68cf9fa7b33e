from __future__ import annotations

import adapters
import pytest
import torch
from tiny_backbone import adapter_model, make_backbone

from jobs.adapters.adapter import named
from jobs.adapters.adapterhub import read_adapter, write_adapter
from jobs.errors import InputError
from jobs.merging.mixture import mix
from jobs.models.madx_backbone import load_backbone
from jobs.spec import BottleneckConfig, InitialAdapterSpec, JobCall, Mixture
from jobs.tasks.heads import new_head, tagging_head
from jobs.training.initial import initial_adapter, initial_bottleneck


@pytest.fixture(scope="module")
def backbone(tmp_path_factory):
    return load_backbone(make_backbone(tmp_path_factory.mktemp("model")), "cpu")


def _initial(backbone, root, config):
    spec = InitialAdapterSpec(backbone.ref, config)
    return initial_adapter(JobCall("theta_pre", spec, {}, root, root / "checkpoint", root / "cache"))


@pytest.mark.parametrize("seed", [0, 42])
def test_theta_pre_has_the_same_bytes_whatever_was_drawn_before(backbone, tmp_path, seed):
    for run in ("first", "second"):
        torch.rand(7)
        _initial(backbone, tmp_path / run, BottleneckConfig(init_seed=seed))
    for path in (tmp_path / "first").iterdir():
        assert path.read_bytes() == (tmp_path / "second" / path.name).read_bytes()


def test_making_theta_pre_leaves_the_global_random_state_alone(backbone):
    torch.manual_seed(3)
    expected = torch.rand(2)
    torch.manual_seed(3)
    initial_bottleneck(backbone, BottleneckConfig(), "x")
    assert torch.equal(torch.rand(2), expected)


def test_the_library_itself_makes_the_same_theta_pre(backbone, tmp_path):
    _initial(backbone, tmp_path, BottleneckConfig())
    model = adapter_model(backbone.ref)
    model.add_adapter(
        "own", config=adapters.SeqBnInvConfig(reduction_factor=2, non_linearity="gelu_new", init_weights_seed=42)
    )
    own = {name: value for name, value in model.state_dict().items() if ".own." in name}
    tensors = read_adapter(tmp_path).tensors
    assert len(own) == len(tensors)
    assert all(torch.equal(tensors[name.replace(".own.", ".*.")], value) for name, value in own.items())


def test_widths_follow_the_reduction_factors(backbone):
    adapter = initial_bottleneck(backbone, BottleneckConfig(reduction_factor=4, invertible_reduction_factor=2), "x")
    shapes = {name.split("layer.0.output.")[-1]: tuple(t.shape) for name, t in adapter.tensors.items()}
    assert shapes["adapters.*.adapter_down.0.weight"] == (8, 32)
    assert shapes["roberta.invertible_adapters.*.F.0.weight"] == (8, 16)
    plain = initial_bottleneck(backbone, BottleneckConfig(16, 0), "y")
    assert not any("invertible" in name for name in plain.tensors)


def test_the_file_names_the_backbone_and_no_path(backbone, tmp_path):
    _initial(backbone, tmp_path, BottleneckConfig())
    text = (tmp_path / "adapter_config.json").read_text()
    assert '"model_name": "tiny"' in text and backbone.ref.path not in text


def test_a_non_linearity_that_nobody_knows_is_refused(backbone):
    with pytest.raises(InputError, match="refuses"):
        initial_bottleneck(backbone, BottleneckConfig(non_linearity="cubic"), "x")


def test_tensors_of_other_names_are_refused_under_a_new_name(backbone):
    adapter = initial_bottleneck(backbone, BottleneckConfig(), "x")
    with pytest.raises(InputError, match="other tensors"):
        named(adapter, "y", {"a": torch.zeros(1)})


def test_plain_adapters_loads_an_adapter_with_its_head(backbone, tmp_path):
    labels = ("O", "B-X", "I-X")
    adapter = initial_bottleneck(backbone, BottleneckConfig(16, 0), "x")
    write_adapter(named(adapter, "ner", adapter.tensors, new_head(backbone, tagging_head(labels), 1)), tmp_path)
    model = adapter_model(backbone.ref)
    assert model.load_adapter(str(tmp_path)) == "ner"
    assert model.get_labels_dict("ner") == dict(enumerate(labels))


@pytest.mark.parametrize(("leave_out", "left"), [((-1,), {0}), ((0,), {1}), ((1,), {0})])
def test_layers_that_are_left_out_have_no_adapter_and_the_library_reads_which(backbone, tmp_path, leave_out, left):
    _initial(backbone, tmp_path, BottleneckConfig(leave_out=leave_out))
    adapter = read_adapter(tmp_path)
    assert adapter.settings["leave_out"] == sorted({0, 1} - left)
    model = adapter_model(backbone.ref)
    model.load_adapter(str(tmp_path))
    own = {name: value for name, value in model.state_dict().items() if ".theta_pre." in name}
    assert {int(name.split("layer.")[1][0]) for name in own if "layer." in name} == left
    assert len(own) == len(adapter.tensors) and any("invertible" in name for name in own)
    assert all(torch.equal(adapter.tensors[n.replace(".theta_pre.", ".*.")], value) for n, value in own.items())


@pytest.mark.parametrize(
    ("leave_out", "said"),
    [
        ((2,), "there is no such layer.*2.*the backbone has 2 layers"),
        ((0, 1), "no layer is left"),
        ((0, -1), "no layer is left"),
    ],
)
def test_layers_that_are_not_there_are_refused(backbone, leave_out, said):
    with pytest.raises(InputError, match=said):
        initial_bottleneck(backbone, BottleneckConfig(leave_out=leave_out), "x")


def test_adapters_without_a_layer_are_merged_and_only_with_their_like(backbone, tmp_path):
    sources = {}
    for name, config in (("a", (-1,)), ("b", (-1,)), ("c", ())):
        base = initial_bottleneck(backbone, BottleneckConfig(leave_out=config), name)
        draw = torch.Generator().manual_seed(len(sources))
        sources[name] = named(base, name, {k: torch.randn(v.shape, generator=draw) for k, v in base.tensors.items()})
    mixture = Mixture((("a", 0.25), ("b", 0.75)), "linear")
    merged = mix(mixture, {name: sources[name] for name in "ab"}, None, "x")
    write_adapter(named(merged, "ab", merged.tensors), tmp_path / "ab")
    again = read_adapter(tmp_path / "ab")
    assert again.settings["leave_out"] == [1] and set(again.tensors) == set(sources["a"].tensors)
    for name, tensor in again.tensors.items():
        torch.testing.assert_close(tensor, 0.25 * sources["a"].tensors[name] + 0.75 * sources["b"].tensors[name])
    with pytest.raises(InputError, match="leave_out"):
        mix(Mixture((("a", 0.5), ("c", 0.5)), "linear"), {name: sources[name] for name in "ac"}, None, "x")
