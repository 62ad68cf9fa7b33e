"""What cannot be merged is refused, naming both sides, and nothing is left behind."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from peft import PeftType
from safetensors.torch import load_file, save_file
from tiny_adapters import peft_outputs, save_hub, save_peft, write_recipe

from jobs.adapters.peft import _KINDS, _REASONS
from jobs.errors import InputError
from jobs.merging.merge import merge


def edit_config(directory: Path, nested: bool = True, **changes: object) -> None:
    path = directory / "adapter_config.json"
    config = json.loads(path.read_text())
    if nested and "config" in config:
        config["config"].update(changes)
    else:
        config.update(changes)
    path.write_text(json.dumps(config))


def edit_tensors(directory: Path, change) -> None:
    path = directory / "pytorch_adapter.bin"
    if path.exists():
        tensors = torch.load(path, weights_only=True)
        change(tensors)
        torch.save(tensors, path)
    else:
        path = directory / "adapter_model.safetensors"
        tensors = load_file(path)
        change(tensors)
        save_file(tensors, path)


def linear(folder: Path, names: tuple[str, ...] = ("s1", "s2"), **more: object) -> None:
    listed = [{"adapter": name, "weight": 0.5} for name in names]
    recipe = write_recipe(folder / "r.yaml", **{"method": "linear", "sources": listed, "name": "gl", **more})
    merge(recipe, folder / "out")


def refused(folder: Path, *reasons: str, **more: object) -> None:
    """The merge raises with each reason in its message, and leaves nothing behind."""
    before = {path.name for path in folder.iterdir()} | {"r.yaml"}
    with pytest.raises(InputError) as error:
        linear(folder, **more)
    for reason in reasons:
        assert reason in str(error.value), str(error.value)
    assert all("\n" not in str(fault) for fault in error.value.faults)
    assert {path.name for path in folder.iterdir()} == before


@pytest.fixture
def hub(tmp_path: Path) -> Path:
    """Two MAD-X adapters that can be merged."""
    save_hub(tmp_path / "s1", "madx", 1)
    save_hub(tmp_path / "s2", "madx", 2)
    return tmp_path


@pytest.fixture
def hub_of_two_names(tmp_path: Path) -> Path:
    """Two adapters with heads, each with a name of its own for their backbone."""
    (tmp_path / "two").mkdir()
    for seed in (1, 2):
        directory = save_hub(tmp_path / "two" / f"s{seed}", "bottleneck", seed, labels=3)
        edit_config(directory, nested=False, model_name=f"/local/{seed}")
    return tmp_path / "two"


@pytest.fixture
def lora(tmp_path: Path) -> Path:
    """Two PEFT LoRA adapters that can be merged."""
    save_peft(tmp_path / "s1", "lora", 1)
    save_peft(tmp_path / "s2", "lora", 2)
    return tmp_path


def test_different_backbones_are_refused_naming_both(hub):
    edit_config(hub / "s1", nested=False, model_name="xlm-roberta-base")
    edit_config(hub / "s2", nested=False, model_name="bert-base-multilingual-cased")
    refused(hub, "xlm-roberta-base in s1", "bert-base-multilingual-cased in s2", "backbone: NAME")


def test_the_user_may_state_that_two_names_are_one_backbone(hub):
    edit_config(hub / "s1", nested=False, model_name="xlm-roberta-base")
    edit_config(hub / "s2", nested=False, model_name="local/xlmr")
    linear(hub, backbone="xlm-roberta-base")
    assert (hub / "out").is_dir()


def card_before_parents(folder: Path) -> str:
    return (folder / "out" / "README.md").read_text().split("## Parents")[0]


def test_the_stated_backbone_is_the_one_that_is_written(lora, hub_of_two_names):
    edit_config(lora / "s1", base_model_name_or_path="/home/someone/llama", revision="of-that-path")
    edit_config(lora / "s2", base_model_name_or_path="org/llama", revision="abc")
    linear(lora, backbone="org/llama")
    config = json.loads((lora / "out" / "adapter_config.json").read_text())
    assert (config["base_model_name_or_path"], config["revision"]) == ("org/llama", "abc")
    assert "/home/someone" not in card_before_parents(lora)
    linear(hub_of_two_names, backbone="other/name", head="first")
    for name in ("adapter_config.json", "head_config.json"):
        assert json.loads((hub_of_two_names / "out" / name).read_text())["model_name"] == "other/name"
    assert "from_pretrained('other/name')" in card_before_parents(hub_of_two_names)


def test_a_name_that_only_one_source_gives_is_the_results(lora):
    edit_config(lora / "s1", base_model_name_or_path=None)
    edit_config(lora / "s2", base_model_name_or_path="org/llama")
    linear(lora)
    assert json.loads((lora / "out" / "adapter_config.json").read_text())["base_model_name_or_path"] == "org/llama"
    assert "for `org/llama`" in card_before_parents(lora)


def test_different_hidden_sizes_and_model_types_are_refused_all_at_once(hub):
    edit_config(hub / "s2", nested=False, hidden_size=768, model_type="bert")
    refused(hub, "hidden_size (got 32 in s1, 768 in s2)", "model_type (got xlm-roberta in s1, bert in s2)")


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("non_linearity", "gelu"),
        ("reduction_factor", 16),
        ("scaling", 4.0),
        ("inv_adapter", None),
        ("original_ln_before", False),
        ("leave_out", [1]),
        ("a_key_of_the_future", 1),
    ],
)
def test_configurations_that_differ_are_refused_naming_key_and_both_sides(hub, key, value):
    edit_config(hub / "s2", **{key: value})
    refused(hub, f"configurations differ: {key}", "in s1", "in s2")


@pytest.mark.parametrize(("key", "value"), [("dropout", 0.3), ("init_weights_seed", 7), ("phm_dim", 8)])
def test_settings_that_do_not_change_the_function_may_differ(hub, key, value):
    edit_config(hub / "s2", **{key: value})
    linear(hub)
    assert (hub / "out").is_dir()


def test_a_key_missing_from_an_older_file_means_its_default(hub):
    path = hub / "s2" / "adapter_config.json"
    config = json.loads(path.read_text())
    for key in ("use_gating", "stochastic_depth", "leave_out", "is_parallel"):
        del config["config"][key]
    path.write_text(json.dumps(config))
    linear(hub)
    assert (hub / "out").is_dir()


def test_kinds_and_formats_that_differ_are_refused(tmp_path):
    save_hub(tmp_path / "s1", "madx", 1)
    save_hub(tmp_path / "s2", "lora", 2)
    refused(tmp_path, "kinds differ (got bottleneck (adapterhub) in s1, lora (adapterhub) in s2)")
    save_peft(tmp_path / "s3", "lora", 3)
    with pytest.raises(InputError, match=r"lora \(adapterhub\) in s2, lora \(peft\) in s3"):
        linear(tmp_path, ("s2", "s3"))


@pytest.mark.parametrize(
    ("key", "value"),
    [("target_modules", ["q_proj"]), ("use_dora", True), ("bias", "all"), ("fan_in_fan_out", True), ("r", 5)],
)
def test_peft_configurations_that_differ_are_refused(lora, key, value):
    edit_config(lora / "s2", **{key: value})
    refused(lora, f"configurations differ: {key}", "in s1", "in s2", space="factors")


def test_the_order_of_target_modules_does_not_matter(lora):
    edit_config(lora / "s1", target_modules=["up_proj", "q_proj"])
    edit_config(lora / "s2", target_modules=["q_proj", "up_proj"])
    linear(lora)
    assert (lora / "out").is_dir()


@pytest.mark.parametrize("space", ["factors", "delta"])
@pytest.mark.parametrize(
    "spelled",
    [
        r".*\.(q|up)_proj",
        r"model\.layers\.\d\.(self_attn\.q_proj|mlp\.up_proj)",
        ["self_attn.q_proj", "mlp.up_proj"],
        ["q_proj", "up_proj", "a_module_that_is_not_there"],
        [f"model.layers.{layer}.{module}" for layer in (0, 1) for module in ("self_attn.q_proj", "mlp.up_proj")],
    ],
)
def test_the_same_modules_may_be_spelled_differently(lora, spelled, space):
    listed = peft_outputs(lora / "s2")
    linear(lora, space=space)
    edit_config(lora / "s2", target_modules=spelled)
    assert torch.equal(peft_outputs(lora / "s2"), listed)
    (lora / "out").rename(lora / "of_lists")
    for number, names in enumerate((("s1", "s2"), ("s2", "s1"))):
        linear(lora, names, space=space)
        # Concatenated ranks stand in the order of their sources.
        torch.testing.assert_close(peft_outputs(lora / "out"), peft_outputs(lora / "of_lists"))
        (lora / "out").rename(lora / f"out{number}")


@pytest.mark.parametrize(
    ("spelled", "reason"),
    [
        ("q_proj", "configurations differ: target_modules"),  # a pattern fits whole paths
        (r".*\.q_proj", "configurations differ: target_modules"),
        (["proj"], "configurations differ: target_modules"),  # an end is whole components
        (["q_proj", "up"], "configurations differ: target_modules"),
        (r"(.*)*q_proj", "too complex to be trusted"),
        (r".*(q_proj", "an invalid pattern of modules"),
    ],
)
def test_modules_that_a_configuration_does_not_choose_are_not_the_same(lora, spelled, reason):
    edit_config(lora / "s2", target_modules=spelled)
    refused(lora, reason, space="factors")


@pytest.mark.parametrize("space", ["factors", "delta"])
def test_lora_with_and_without_bias_is_refused(tmp_path, space):
    save_peft(tmp_path / "s1", "lora_bias", 1)
    save_peft(tmp_path / "s2", "lora", 2)
    edit_config(tmp_path / "s2", r=2, target_modules=["q_proj"])
    refused(tmp_path, "configurations differ: lora_bias (got True in s1, False in s2)", space=space)


@pytest.mark.parametrize("weights", [(0.3, -0.1, -0.2), (0.1, 0.7, -0.8), (1.0, -1.0, 0.0)])
def test_weights_that_cancel_but_for_their_rounding_are_not_normalized(hub, weights):
    sources = [{"adapter": f"s{1 + number % 2}", "weight": weight} for number, weight in enumerate(weights)]
    refused(hub, "sum to zero cannot be normalized", sources=sources, options={"normalize": True})


def test_missing_and_extra_tensors_are_refused_naming_both(hub):
    def change(tensors):
        tensors.pop("roberta.encoder.layer.0.output.adapters.a2.adapter_up.bias")
        tensors["roberta.encoder.layer.9.output.adapters.a2.adapter_up.bias"] = torch.zeros(2)

    edit_tensors(hub / "s2", change)
    refused(hub, "in s1 but not in s2", "layer.0.output", "in s2 but not in s1", "layer.9.output")


def test_a_module_that_only_one_lora_updates_is_refused(lora):
    def change(tensors):
        for part in ("A", "B"):
            del tensors[f"base_model.model.model.layers.1.mlp.up_proj.lora_{part}.weight"]

    edit_tensors(lora / "s2", change)
    refused(lora, "updated in s1 but not in s2", "layers.1.mlp.up_proj", space="delta")
    refused(lora, "in s1 but not in s2", space="factors")


def test_keys_of_newer_releases_that_are_switched_off_may_be_absent_in_older_files(lora):
    path = lora / "s2" / "adapter_config.json"
    config = json.loads(path.read_text())
    old = ("r", "lora_alpha", "target_modules", "peft_type", "task_type", "bias", "fan_in_fan_out", "lora_dropout")
    path.write_text(json.dumps({key: config[key] for key in old}))
    linear(lora, space="factors")
    assert (lora / "out").is_dir()


@pytest.mark.parametrize("space", ["factors", "delta"])
@pytest.mark.parametrize("part", ["A", "B"])
def test_one_factor_without_the_other_is_refused_in_every_space(lora, space, part):
    for name in ("s1", "s2"):
        edit_tensors(lora / name, lambda t: t.pop(f"base_model.model.model.layers.1.mlp.up_proj.lora_{part}.weight"))
    refused(lora, "one LoRA factor without the other", "s1", space=space)


@pytest.mark.parametrize("space", ["factors", "delta", "kronecker"])
def test_a_kronecker_factor_that_both_sources_lack_is_refused_in_every_space(tmp_path, space):
    for seed in (1, 2):
        save_peft(tmp_path / f"s{seed}", "lokr", seed)
        edit_tensors(tmp_path / f"s{seed}", lambda t: t.pop("base_model.model.model.layers.1.mlp.up_proj.lokr_w1"))
    refused(tmp_path, "lokr_w1 is missing", "layers.1.mlp.up_proj", space=space)


@pytest.mark.parametrize("space", ["factors", "delta"])
@pytest.mark.parametrize("change", [{"r": 16}, {"rank_pattern": {"up_proj": 2}}])
def test_a_rank_that_contradicts_the_tensors_is_refused(lora, space, change):
    for name in ("s1", "s2"):
        edit_config(lora / name, **change)
    stated = next(iter(change.values()))
    rank = stated if isinstance(stated, int) else 2
    refused(lora, "contradicts", f"tensors of rank 4, a configuration of rank {rank}", space=space)


def test_a_rank_that_contradicts_the_tensors_is_refused_in_adapterhubs_format(tmp_path):
    for seed in (1, 2):
        save_hub(tmp_path / f"s{seed}", "lora", seed)
        edit_config(tmp_path / f"s{seed}", r=6)
    refused(tmp_path, "tensors of rank 3, a configuration of rank 6", space="factors")


@pytest.mark.parametrize(("kind", "key"), [("lora", "lora_alpha"), ("lora", "r"), ("lokr", "alpha")])
def test_a_null_where_a_number_scales_the_update_is_refused(tmp_path, kind, key):
    for seed in (1, 2):
        save_peft(tmp_path / f"s{seed}", kind, seed)
        edit_config(tmp_path / f"s{seed}", **{key: None})
    refused(tmp_path, f"adapter_config.json: {key}", "number (got null", "s1", "s2")


def test_a_null_alpha_is_refused_in_adapterhubs_format(tmp_path):
    save_hub(tmp_path / "s1", "lora", 1)
    save_hub(tmp_path / "s2", "lora", 2)
    edit_config(tmp_path / "s2", alpha=None)
    refused(tmp_path, "s2/adapter_config.json: alpha: must be a number (got null")


def test_shapes_of_stored_parameters_that_differ_are_refused(hub):
    name = "roberta.encoder.layer.0.output.adapters.a2.adapter_up.bias"
    edit_tensors(hub / "s2", lambda t: t.update({name: torch.zeros(5)}))
    refused(hub, "shapes differ (got [32] in s1, [5] in s2)")


def test_shapes_of_deltas_that_differ_are_refused(lora):
    name = "base_model.model.model.layers.1.mlp.up_proj.lora_B.weight"
    edit_tensors(lora / "s2", lambda t: t.update({name: torch.zeros(7, 4)}))
    refused(lora, "layers.1.mlp.up_proj: deltas of different shapes (got [48, 32] in s1, [7, 32] in s2)", space="delta")


def test_shapes_of_kronecker_deltas_that_differ_are_refused_naming_both(tmp_path):
    for seed in (1, 2):
        save_peft(tmp_path / f"s{seed}", "lokr", seed)
    # One half of a factor's rows is one half of delta W's.
    name = "base_model.model.model.layers.1.mlp.up_proj.lokr_w1"
    edit_tensors(tmp_path / "s2", lambda t: t.update({name: t[name][: len(t[name]) // 2].clone()}))
    refused(tmp_path, "layers.1.mlp.up_proj: deltas of different shapes (got [48, 32] in s1, [24, 32] in s2)")


@pytest.mark.parametrize("space", ["factors", "delta"])
def test_dtypes_that_differ_are_refused_naming_both(lora, space):
    edit_tensors(lora / "s2", lambda t: t.update({name: value.half() for name, value in t.items()}))
    refused(lora, "dtypes differ", "float32 in s1", "float16 in s2", space=space)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
@pytest.mark.parametrize("more", [{"space": "factors"}, {"space": "delta"}, {"space": "delta", "rank": 3}])
def test_values_that_are_not_finite_are_refused_and_nothing_is_left(lora, value, more):
    name = "base_model.model.model.layers.1.mlp.up_proj.lora_B.weight"
    edit_tensors(lora / "s2", lambda t: t[name].__setitem__((3, 1), value))
    refused(lora, "NaN or infinite", "layers.1.mlp.up_proj.lora_B", **more)


def test_a_result_that_overflows_is_no_fault_of_a_source(tmp_path):
    save_peft(tmp_path / "s1", "lora", 1)
    # Finite in float16, whose largest number is 65504; their scaled product is not.
    edit_tensors(tmp_path / "s1", lambda t: t.update({n: torch.full_like(v, 20000.0).half() for n, v in t.items()}))
    with pytest.raises(InputError) as error:
        linear(tmp_path, sources=[{"adapter": "s1", "weight": 5.0}])
    assert "overflows" in str(error.value) and "source 0" not in str(error.value)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("method", ["ties", "dare", "slerp"])
def test_values_that_are_not_finite_are_refused_by_every_rule(hub, method):
    name = "roberta.invertible_adapters.a2.F.0.bias"
    edit_tensors(hub / "s2", lambda t: t[name].__setitem__(0, float("nan")))
    options = {"ties": {}, "dare": {"density": 0.5}, "slerp": {"t": 0.5}}[method]
    listed = [{"adapter": n, **({"weight": 1.0} if method == "dare" else {})} for n in ("s1", "s2")]
    base = {} if method == "slerp" else {"base": "zero"}
    refused(hub, "NaN or infinite", method=method, sources=listed, options=options, **base)


@pytest.mark.parametrize("method", ["task_arithmetic", "ties", "dare"])
def test_a_base_that_the_rule_needs_and_lacks_is_refused(hub, method):
    options = {"task_arithmetic": None, "ties": {"density": 0.2}, "dare": {"density": 0.5}}[method]
    listed = [{"adapter": n, **({} if method == "ties" else {"weight": 0.5})} for n in ("s1", "s2")]
    refused(hub, f"{method} needs a base", method=method, sources=listed, **({"options": options} if options else {}))


def test_a_base_of_another_layout_is_refused(hub):
    save_hub(hub / "base", "bottleneck", 3)
    listed = [{"adapter": "s1", "weight": 0.5}]
    refused(hub, "in base", "in s1", method="task_arithmetic", sources=listed, base="base")


def test_an_adapter_that_is_not_there_is_named_together_with_every_other_fault(tmp_path):
    save_hub(tmp_path / "s2", "madx", 2)
    (tmp_path / "s2" / "pytorch_adapter.bin").write_bytes(b"broken")
    refused(tmp_path, "s1: not an adapter directory", "pytorch_adapter.bin")


def test_an_existing_output_is_never_overwritten(hub):
    (hub / "out").mkdir()
    (hub / "out" / "precious").write_text("mine")
    with pytest.raises(InputError, match="exists already"):
        linear(hub)
    assert (hub / "out" / "precious").read_text() == "mine"


@pytest.mark.parametrize(
    ("more", "reason"),
    [
        ({"space": "delta"}, "only LoRA, LoKr and reparametrized prefixes have it"),
        ({"rank": 3}, "only LoRA, LoKr and reparametrized prefixes have it"),
    ],
)
def test_a_bottleneck_has_but_one_space(hub, more, reason):
    refused(hub, reason, **more)


def test_a_space_or_rank_that_a_low_rank_adapter_does_not_have_is_refused(lora):
    refused(lora, "a rank truncates delta W", space="factors", rank=4)
    refused(lora, "nearest Kronecker product", space="kronecker")
    sources = [{"adapter": "s1"}, {"adapter": "s2"}]
    refused(lora, "rank: this key is missing", method="ties", sources=sources, space="delta")


@pytest.mark.parametrize(("key", "value"), [("use_dora", True), ("init_lora_weights", "pissa"), ("use_qalora", True)])
def test_variants_whose_update_is_no_product_of_factors_have_no_delta_space(lora, key, value):
    for name in ("s1", "s2"):
        edit_config(lora / name, **{key: value})
    refused(lora, f"no sum of delta W: {key}", space="delta")


def test_adamergex_refuses_kinds_for_which_the_paper_has_no_rule(hub):
    save_hub(hub / "s3", "madx", 3)
    roles = {"task_source": "s1", "reference_target": "s2", "reference_source": "s3", "t": 1.0}
    recipe = write_recipe(hub / "r.yaml", method="adamergex", name="gl", **roles)
    with pytest.raises(InputError, match=r"LoRA, \(IA\)3 and prefixes alone"):
        merge(recipe, hub / "out")


@pytest.mark.parametrize(("kind", "space"), [("lora", "delta"), ("lokr", "delta"), ("lokr", "kronecker")])
def test_adamergex_multiplies_stored_parameters_alone(tmp_path, kind, space):
    for seed in (1, 2, 3):
        save_peft(tmp_path / f"s{seed}", kind, seed)
    roles = {"task_source": "s1", "reference_target": "s2", "reference_source": "s3", "t": 1.0}
    recipe = write_recipe(
        tmp_path / "r.yaml", method="adamergex", operators="multiply", space=space, name="gl", **roles
    )
    with pytest.raises(InputError, match=f"operators: .*acts on stored parameters .*multiply, space: {space}"):
        merge(recipe, tmp_path / "out")


@pytest.mark.parametrize("space", ["factors", "delta", "kronecker"])
def test_adamergex_has_no_fitting_rule_for_lokr_in_any_space(tmp_path, space):
    for seed in (1, 2, 3):
        save_peft(tmp_path / f"s{seed}", "lokr", seed)
    roles = {"task_source": "s1", "reference_target": "s2", "reference_source": "s3", "t": 1.0}
    recipe = write_recipe(tmp_path / "r.yaml", method="adamergex", space=space, name="gl", **roles)
    with pytest.raises(InputError, match=r"LoRA, \(IA\)3 and prefixes alone"):
        merge(recipe, tmp_path / "out")


def test_compacter_is_refused_with_a_reason(tmp_path):
    import adapters
    from tiny_adapters import hub_model

    model = hub_model()
    model.add_adapter("c", config=adapters.CompacterConfig(phm_dim=2, reduction_factor=4))
    model.save_adapter(str(tmp_path / "s1"), "c")
    refused(tmp_path, "Compacter adapters cannot be merged", "shared by all layers")


@pytest.mark.parametrize("architecture", ["prompt_tuning", "reft", "mtl_lora", "union", "of_the_future"])
def test_methods_that_cannot_be_merged_are_refused_with_a_reason(hub, architecture):
    edit_config(hub / "s1", architecture=architecture)
    refused(hub, f"adapters of architecture '{architecture}' cannot be merged")


PEFT_REFUSED = {
    "VERA": "matrices that other adapters do not share",
    "RANDLORA": "matrices that other adapters do not share",
    "PROMPT_TUNING": "a trained prompt",
    "ADALORA": "no sum of its parts",
    "LOHA": "no sum of its parts",
    "OFT": "multiplies the backbone's weights",
    "LN_TUNING": "whole parameters",
    "OF_THE_FUTURE": "nothing is known",
}


@pytest.mark.parametrize(("method", "reason"), PEFT_REFUSED.items())
def test_peft_methods_that_cannot_be_merged_are_refused_with_a_reason(lora, method, reason):
    edit_config(lora / "s1", peft_type=method)
    refused(lora, f"a PEFT method that cannot be merged (got '{method}'); ", reason, "merged are IA3, LOKR, LORA")


def test_the_reasons_are_of_methods_that_peft_has():
    assert _REASONS.keys() <= {one.value for one in PeftType} - _KINDS.keys()


@pytest.mark.parametrize("space", ["factors", "delta"])
@pytest.mark.parametrize(
    ("key", "value", "reason"),
    [
        ("monteclora_config", {"num_samples": 8}, "MonteCLoRA trains distributions"),
        ("enable_lora", [True, False, True], "PEFT before 0.3"),
    ],
)
def test_variants_that_plain_peft_would_not_load_again_are_refused_in_every_space(lora, key, value, reason, space):
    for name in ("s1", "s2"):
        edit_config(lora / name, **{key: value})
    refused(lora, f"cannot be merged: {key}", reason, space=space)


def test_an_initialization_that_leaves_the_backbone_alone_has_a_delta_space(lora):
    edit_config(lora / "s1", init_lora_weights="mica")
    linear(lora)
    assert json.loads((lora / "out" / "adapter_config.json").read_text())["init_lora_weights"] is True
    merged, one, two = (load_file(lora / name / "adapter_model.safetensors") for name in ("out", "s1", "s2"))
    for name in one:
        if name.endswith("lora_A.weight"):
            other = name.replace("lora_A", "lora_B")
            deltas = [tensors[other].double() @ tensors[name].double() for tensors in (merged, one, two)]
            # lora_alpha 8 over r 4 is a scaling of 2, half of which is each source's share.
            torch.testing.assert_close(deltas[0], deltas[1] + deltas[2], rtol=1e-5, atol=1e-6)


def test_some_heads_and_some_none_must_be_decided(tmp_path):
    save_hub(tmp_path / "s1", "bottleneck", 1, labels=3)
    save_hub(tmp_path / "s2", "bottleneck", 2)
    refused(
        tmp_path,
        "some sources have a prediction head",
        "with: s1",
        "without: s2",
        "head: merge, first, mean or drop",
    )
    linear(tmp_path, head="first")
    assert (tmp_path / "out" / "model_head.safetensors").exists()


def test_heads_of_different_tasks_are_refused(tmp_path):
    save_hub(tmp_path / "s1", "bottleneck", 1, labels=3)
    save_hub(tmp_path / "s2", "bottleneck", 2, labels=4)
    refused(tmp_path, "prediction heads differ", "s1 and s2")
    linear(tmp_path, head="drop")
    assert not (tmp_path / "out" / "head_config.json").exists()


def test_whole_biases_have_a_delta_only_when_the_weights_sum_to_one(lora):
    name = "base_model.model.model.layers.0.self_attn.q_proj.bias"
    for seed, directory in enumerate(("s1", "s2")):
        edit_config(lora / directory, bias="lora_only")
        edit_tensors(lora / directory, lambda t, seed=seed: t.update({name: torch.full((32,), float(seed))}))
    linear(lora, space="delta")
    merged = load_file(lora / "out" / "adapter_model.safetensors")
    assert merged[name].tolist() == [0.5] * 32
    sources = [{"adapter": "s1", "weight": 1.0}, {"adapter": "s2", "weight": -0.5}]
    recipe = write_recipe(lora / "r.yaml", method="linear", space="delta", sources=sources, name="gl")
    with pytest.raises(InputError, match="a whole parameter, not a change"):
        merge(recipe, lora / "again")


def test_copies_of_an_embedding_that_differ_are_refused_and_equal_ones_are_kept(lora):
    name = "base_model.model.model.embed_tokens.base_layer.weight"
    for directory in ("s1", "s2"):
        edit_tensors(lora / directory, lambda t: t.update({name: torch.ones(64, 32)}))
    sources = [{"adapter": "s1", "weight": 1.0}, {"adapter": "s2", "weight": 1.0}]
    linear(lora, space="delta", sources=sources)
    assert load_file(lora / "out" / "adapter_model.safetensors")[name].tolist() == torch.ones(64, 32).tolist()
    edit_tensors(lora / "s2", lambda t: t[name].fill_(2.0))
    with pytest.raises(InputError, match="s1 and s2 hold different copies of the backbone"):
        merge(lora / "r.yaml", lora / "again")
