"""Mixtures against the rules of `jobs.arithmetic` on the same tensors, and against numpy."""

from __future__ import annotations

import dataclasses
import json

import pytest
import torch
from safetensors.torch import load_file, save_file
from tiny_adapters import save_hub, save_peft

from jobs.adapters.adapter import Head
from jobs.adapters.formats import read_adapter
from jobs.arithmetic.combine import base_weights, linear
from jobs.arithmetic.dare import Drops, dare, dare_ties_tensor, plan_dare_ties
from jobs.arithmetic.slerp import slerp
from jobs.arithmetic.ties import ties
from jobs.errors import InputError
from jobs.merging.job import merge, read_winner
from jobs.merging.mixture import mix
from jobs.spec import BackboneRef, JobCall, MergeSpec, Mixture, mixture_role


@pytest.fixture(scope="module")
def madx(tmp_path_factory):
    root = tmp_path_factory.mktemp("madx")
    return {name: read_adapter(save_hub(root / name, "madx", seed)) for seed, name in enumerate(("en", "gl", "pt"), 1)}


@pytest.fixture(scope="module", params=["lora", "ia3"])
def decoder(request, tmp_path_factory):
    root = tmp_path_factory.mktemp(request.param)
    keys = {"task:en": "task", "language:gl": "target", "language:en": "source"}
    return {key: read_adapter(save_peft(root / d, request.param, n)) for n, (key, d) in enumerate(keys.items(), 1)}


def assert_equal(adapter, expected):
    assert adapter.tensors.keys() == expected.keys()
    for name, tensor in expected.items():
        assert torch.equal(adapter.tensors[name], tensor), name


def test_a_key_is_a_language_or_a_role_without_its_seed():
    assert mixture_role("gl", 42) == "language:gl@42"
    assert mixture_role("language:gl", 7) == "language:gl@7" and mixture_role("task:en", 7) == "task:en@7"


def test_a_task_adapter_of_weight_zero_brings_its_head(decoder):
    name, weight = "base_model.model.classifier.weight", torch.arange(8.0).reshape(2, 4)
    head = Head({"modules_to_save": ["classifier"], "config": {"head_type": "tagging"}}, {name: weight})
    sources = {**decoder, "task:en": dataclasses.replace(decoder["task:en"], head=head)}
    merged = mix(Mixture((("task:en", 0.0), ("language:gl", 1.0)), "linear"), sources, None, "gl")
    assert merged.head is not None and torch.equal(merged.head.tensors[name], weight)


def test_equal_mixtures_are_equal_values():
    one = Mixture((("pt", 0.5), ("en", 0.5)), "dare", (("seed", 1), ("density", 0.5)))
    assert one == Mixture((("en", 0.5), ("pt", 0.5)), "dare", (("density", 0.5), ("seed", 1)))


def test_sums_and_rules_are_those_of_the_arithmetic(madx):
    base, states = madx["pt"].tensors, [madx["en"].tensors, madx["gl"].tensors]
    sources = {key: madx[key] for key in ("en", "gl")}
    weights = (("en", 0.7), ("gl", -0.4))

    def mixed(mixture):
        return mix(mixture, sources, madx["pt"], "out")

    assert_equal(mixed(Mixture(weights)), linear([base, *states], base_weights([0.7, -0.4])))
    dared = mixed(Mixture(weights, "dare", (("density", 0.4), ("seed", 3.0))))
    assert_equal(dared, dare(base, states, [0.7, -0.4], 0.4, 3))
    drops = Drops((0.7, -0.4), (0.4, 0.4), 3)
    election = plan_dare_ties(base, states, sorted(base), drops)
    both = {n: base[n] + 0.9 * dare_ties_tensor(base, states, n, drops, election) for n in base}
    options = (("density", 0.4), ("seed", 3.0), ("lambda", 0.9))
    for name, tensor in mixed(Mixture(weights, "dare_ties", options)).tensors.items():
        torch.testing.assert_close(tensor, both[name])
    tied = mixed(Mixture((("en", 1), ("gl", 1)), "ties", (("density", 0.3), ("lambda", 1.1))))
    assert_equal(tied, ties(base, states, 0.3, 1.1))
    assert_equal(mixed(Mixture((("en", 0.75), ("gl", 0.25)), "slerp")), slerp(*states, 0.25))
    assert_equal(mixed(Mixture((("en", 1.0),), "slerp")), states[0])


def test_the_paths_of_language_and_task_arithmetic_are_signed_sums(decoder):
    weights = {"task:en": 0.6, "language:gl": 0.4, "language:en": -0.4}
    merged = mix(Mixture(tuple(weights.items()), "linear", (("space", "factors"),)), decoder, None, "gl") if (
        next(iter(decoder.values())).kind == "lora"
    ) else mix(Mixture(tuple(weights.items()), "linear"), decoder, None, "gl")  # fmt: skip
    for name, tensor in merged.tensors.items():
        expected = sum(w * decoder[key].tensors[name].double() for key, w in weights.items())
        torch.testing.assert_close(tensor.double(), expected, rtol=1e-5, atol=1e-6)


def assert_near(adapter, expected):
    assert adapter.tensors.keys() == expected.keys()
    for name, tensor in expected.items():
        torch.testing.assert_close(adapter.tensors[name].double(), tensor, rtol=1e-5, atol=1e-6)


def added(task, target, source, t):
    return {name: task[name].double() + t * (target[name].double() - source[name].double()) for name in task}


def multiplied(task, target, source, t):
    return {name: task[name].double() * (t * (target[name].double() / source[name].double() - 1) + 1) for name in task}


def test_adamergex_takes_its_roles_from_the_weights(decoder):
    kind = next(iter(decoder.values())).kind
    states = [decoder[key].tensors for key in ("task:en", "language:gl", "language:en")]
    rule = added if kind == "lora" else multiplied
    for t in (1.0, 0.4):
        weights = (("task:en", 1.0), ("language:gl", t), ("language:en", -t))
        assert_near(mix(Mixture(weights, "adamergex"), decoder, None, "gl"), rule(*states, t))


def test_roles_are_kept_by_name_whatever_the_sign_of_t(decoder):
    kind = next(iter(decoder.values())).kind
    states = [decoder[key].tensors for key in ("task:en", "language:gl", "language:en")]
    for t in (-0.4, 0.4):
        weights = (("task:en", 1.0), ("language:gl", t), ("language:en", -t))
        assert_near(mix(Mixture(weights, "arimerge"), decoder, None, "gl"), added(*states, t))
        if kind == "lora":
            assert_near(mix(Mixture(weights, "adamergex"), decoder, None, "gl"), added(*states, t))
        elif t < 0:
            with pytest.raises(
                InputError, match=r"t: below 0 the multiplicative rule is another function \(got -0.4\)"
            ):
                mix(Mixture(weights, "adamergex"), decoder, None, "gl")


def test_a_negative_weight_negates_the_up_projection_alone(tmp_path):
    keys = {"task:en": 1.0, "language:gl": 0.6, "language:en": -0.6}
    sources = {key: read_adapter(save_peft(tmp_path / str(n), "lora", n)) for n, key in enumerate(keys, 1)}
    merged = mix(Mixture(tuple(keys.items()), "linear_negate_b"), sources, None, "gl")
    for name, tensor in merged.tensors.items():
        sign = -1.0 if "lora_B" in name else 1.0
        task, target, source = (sources[key].tensors[name].double() for key in keys)
        torch.testing.assert_close(tensor.double(), task + 0.6 * target + sign * 0.6 * source, rtol=1e-5, atol=1e-6)


def test_a_divisor_near_zero_is_recorded_and_told(tmp_path):
    keys = {"task:en": 1.0, "language:gl": 0.5, "language:en": -0.5}
    places = {key: save_peft(tmp_path / str(n), "ia3", n) for n, key in enumerate(keys, 1)}
    file = places["language:en"] / "adapter_model.safetensors"
    tensors = load_file(file)
    name = sorted(tensors)[0]
    tensors[name].view(-1)[0] = 1e-3
    save_file(tensors, file, {"format": "pt"})
    largest = float(load_file(places["language:gl"] / "adapter_model.safetensors")[name].view(-1)[0]) / 1e-3
    (tmp_path / "winner.json").write_text(json.dumps({"weights": keys, "method": "adamergex"}))
    inputs = {f"{key}@3": path for key, path in places.items()}
    call = JobCall("m", MergeSpec("gl", "x", BackboneRef("b", "0"), 3), {**inputs, "search": tmp_path}, *[tmp_path] * 3)
    details = merge(call).details
    assert details["largest_ratio"]["ratio"] == pytest.approx(abs(largest), rel=1e-5) and abs(largest) > 10
    assert (
        "divides by values near zero" in details["notes"][0]
        and details["largest_ratio"]["tensor"] in details["notes"][0]
    )


def test_the_operators_of_adamergex_can_be_swapped_for_its_ablation(decoder):
    states = [decoder[key].tensors for key in ("task:en", "language:gl", "language:en")]
    weights = (("task:en", 1.0), ("language:gl", 0.4), ("language:en", -0.4))
    for operators, rule in (("multiply", multiplied), ("add", added)):
        merged = mix(Mixture(weights, "adamergex", (("operators", operators),)), decoder, None, "gl")
        assert_near(merged, rule(*states, 0.4))


def test_a_merge_by_the_unverified_rule_for_prefixes_says_so(tmp_path):
    keys = ("task:en", "language:gl", "language:en")
    sources = {key: save_peft(tmp_path / str(n), "prefix", n) for n, key in enumerate(keys, 1)}
    weights = dict(zip(keys, (1.0, 0.5, -0.5), strict=True))
    (tmp_path / "winner.json").write_text(json.dumps({"weights": weights, "method": "adamergex"}))
    inputs = {f"{key}@3": path for key, path in sources.items()}
    call = JobCall("m", MergeSpec("gl", "x", BackboneRef("b", "0"), 3), {**inputs, "search": tmp_path}, *[tmp_path] * 3)
    (note,) = merge(call).details["notes"]
    assert "unverified" in note


@pytest.mark.parametrize(
    ("mixture", "message"),
    [
        (Mixture((("en", 0.5), ("gl", 0.6)), "slerp"), "slerp has two keys"),
        (Mixture((("en", 0.5), ("gl", 0.6)), "ties"), "TIES does not weigh"),
        (Mixture((("en", 0.5), ("gl", 0.5)), "dare"), "options do not fit.*no density for en, gl"),
        (Mixture((("en", 0.5), ("gl", 0.5)), "linear", (("density", 0.5),)), "do not fit"),
        (Mixture((("en", 1.0), ("gl", 0.5)), "adamergex"), "not the weights of adamergex"),
        (Mixture((("task:pt", 1), ("en", 0.5), ("gl", -0.5)), "arimerge"), "a reference of weight t, and one in CODE"),
        (Mixture((("en", 0.5), ("gl", 0.6))), "needs a base"),
    ],
)
def test_mixtures_that_fit_no_rule_are_refused(madx, mixture, message):
    with pytest.raises(InputError, match=message):
        mix(mixture, madx, None, "out")


def test_the_merge_job_writes_a_winner_of_any_rule_and_kind(decoder, tmp_path):
    weights = {"task:en": 1.0, "language:gl": 0.5, "language:en": -0.5}
    (tmp_path / "winner.json").write_text(json.dumps({"weights": weights, "method": "adamergex"}))
    inputs = {f"{key}@3": decoder[key].path for key in weights}
    call = JobCall("m", MergeSpec("gl", "x", BackboneRef("b", "0"), 3), {**inputs, "search": tmp_path}, *[tmp_path] * 3)
    result = merge(call)
    largest = result.details.pop("largest_ratio", None)
    assert (largest is None) == (decoder["task:en"].kind == "lora")
    result.details.pop("notes", None)
    assert result.details == {"weights": dict(sorted(weights.items())), "method": "adamergex"}
    written = read_adapter(tmp_path)
    expected = mix(read_winner(tmp_path), decoder, None, "gl")
    assert_equal(written, dict(expected.tensors))


def test_the_merge_job_takes_the_best_of_a_pair(decoder, tmp_path):
    best = {"en+gl": {"weights": {"en": 0.25, "gl": 0.75}}, "es+gl": {"weights": {"gl": 1.0}}}
    (tmp_path / "winner.json").write_text(json.dumps({"weights": {"gl": 1.0}, "best_of": best}))
    assert dict(read_winner(tmp_path, pair=("en", "gl")).weights) == {"en": 0.25, "gl": 0.75}
    assert dict(read_winner(tmp_path).weights) == {"gl": 1.0}
    with pytest.raises(InputError, match="no readable winner of the search.*run the search again"):
        read_winner(tmp_path, pair=("pt", "gl"))
