from __future__ import annotations

import dataclasses
import re

import numpy as np
import pytest
import torch
from tiny_backbone import adapter_model, make_backbone

from jobs.adapters.adapter import named
from jobs.adapters.adapterhub import write_adapter
from jobs.errors import InputError
from jobs.models import frozen_linear as module
from jobs.models.encoder import FrozenEncoder, activation_named, token_losses
from jobs.models.flat_layout import Layout
from jobs.models.frozen_linear import frozen_cross_entropy, frozen_linear, group_sums
from jobs.models.madx import bank_weights, check_fits, check_supported
from jobs.models.madx_backbone import load_backbone
from jobs.models.row_dropout import RowsDropout
from jobs.models.rows import MaskedRows, Rows
from jobs.spec import BottleneckConfig
from jobs.training.initial import initial_bottleneck

CONFIGS = {
    "madx": BottleneckConfig(),
    "plain": BottleneckConfig(16, 0, "relu", 3),
    "without the last layer": BottleneckConfig(leave_out=(-1,)),
}


@pytest.fixture(scope="module", params=["xlm-roberta", "bert"])
def backbone(request, tmp_path_factory):
    return load_backbone(make_backbone(tmp_path_factory.mktemp("model"), request.param), "cpu")


def _distinct_adapters(backbone, config, count):
    base = initial_bottleneck(backbone, config, "base")
    generator = torch.Generator().manual_seed(5)
    for index in range(count):
        tensors = {name: torch.randn(t.shape, generator=generator) * 0.3 for name, t in base.tensors.items()}
        yield named(base, f"a{index}", tensors)


def _batch(groups, rows, length, seed=0):
    rng = np.random.default_rng(seed)
    ids = torch.ones(groups * rows, length, dtype=torch.long)
    labels = torch.full((groups * rows, length), -100)
    for row in range(groups * rows):
        n = int(rng.integers(4, length + 1))
        ids[row, :n] = torch.tensor([0, *rng.integers(5, 200, n - 2), 2])
        where = rng.choice(np.arange(1, n - 1), size=int(rng.integers(1, n - 1)), replace=False)
        labels[row, where] = ids[row, where]
        ids[row, where] = 4
    return ids, labels


def _rows(ids, labels, groups):
    wanted = (labels != -100).reshape(groups, -1)
    width = int(wanted.sum(1).max())
    places, valid = torch.zeros(groups, width, dtype=torch.long), torch.zeros(groups, width, dtype=torch.bool)
    for group in range(groups):
        found = wanted[group].nonzero()[:, 0]
        places[group, : len(found)], valid[group, : len(found)] = found, True
    return Rows(ids, ids != 1, places, valid), labels[labels != -100]


@pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS)
def test_loss_and_gradients_of_each_language_equal_those_of_adapters_alone(backbone, tmp_path, config):
    adapters = list(_distinct_adapters(backbone, config, 3))
    layout = Layout.of(adapters[0].tensors)
    ids, labels = _batch(groups=3, rows=4, length=12)
    rows, flat_labels = _rows(ids, labels, 3)
    vectors = torch.stack([layout.flatten(a.tensors) for a in adapters]).requires_grad_()
    weights = bank_weights(layout.split(vectors), activation_named(config.non_linearity))
    losses = token_losses(FrozenEncoder(backbone), MaskedRows(rows, flat_labels), weights)
    means = group_sums(losses, rows.valid) / rows.valid.sum(1)
    means.sum().backward()

    model = adapter_model(backbone.ref)
    for group, adapter in enumerate(adapters):
        write_adapter(adapter, tmp_path / adapter.name)
        model.load_adapter(str(tmp_path / adapter.name), set_active=True)
        model.train_adapter(adapter.name)
        model.eval()
        mine = slice(4 * group, 4 * group + 4)
        expected = model(
            input_ids=ids[mine], attention_mask=(ids[mine] != 1).long(), labels=labels[mine], head="default"
        ).loss
        expected.backward()
        gradients = {
            name.replace(f".{adapter.name}.", ".*."): parameter.grad
            for name, parameter in model.named_parameters()
            if f".{adapter.name}." in name
        }
        torch.testing.assert_close(means[group].detach(), expected.detach(), rtol=1e-5, atol=1e-6)
        torch.testing.assert_close(vectors.grad[group], layout.flatten(gradients), rtol=1e-4, atol=1e-6)
        model.delete_adapter(adapter.name)


class _Masks(torch.nn.Module):
    """In place of one of the library's dropouts: the masks that the bank draws there."""

    def __init__(self, masks, site):
        super().__init__()
        self.masks, self.site = masks, site

    def forward(self, x):
        return (self.masks.attention if x.dim() == 4 else self.masks)(x, self.site)


def _site(name):
    """The number of a dropout of BERT and XLM-R; None for those of the heads."""
    layer = re.search(r"encoder\.layer\.(\d+)\.(attention\.self|attention\.output|output)\.dropout$", name)
    if layer is None:
        return 0 if name.endswith("embeddings.dropout") else None
    return 3 * int(layer[1]) + 1 + ["attention.self", "attention.output", "output"].index(layer[2])


def test_dropout_is_where_the_library_has_it(tmp_path):
    """The same masks in both: the same loss and gradients."""
    for kind in ("xlm-roberta", "bert"):
        ref = make_backbone(tmp_path / kind, kind)
        backbone = load_backbone(ref, "cpu")
        (adapter,) = _distinct_adapters(backbone, CONFIGS["madx"], 1)
        layout = Layout.of(adapter.tensors)
        ids, labels = _batch(groups=1, rows=5, length=12)
        rows, flat_labels = _rows(ids, labels, 1)
        dropout = RowsDropout(torch.arange(5, dtype=torch.int32), torch.full((5,), 0.3))
        rows = dataclasses.replace(rows, dropout=dropout)
        vector = layout.flatten(adapter.tensors)[None].requires_grad_()
        weights = bank_weights(layout.split(vector), activation_named("gelu_new"))
        loss = token_losses(FrozenEncoder(backbone), MaskedRows(rows, flat_labels), weights).mean()
        loss.backward()

        model = adapter_model(ref, attn_implementation="eager")
        write_adapter(adapter, tmp_path / kind / "adapter")
        model.load_adapter(str(tmp_path / kind / "adapter"), set_active=True)
        model.train_adapter("a0")
        model.eval()
        sites = {name: _site(name) for name, one in model.named_modules() if isinstance(one, torch.nn.Dropout)}
        assert sorted(site for site in sites.values() if site is not None) == list(range(7))
        for name, site in sites.items():
            if site is not None:
                model.set_submodule(name, _Masks(dropout.positions(12), site))
        expected = model(input_ids=ids, attention_mask=(ids != 1).long(), labels=labels).loss
        expected.backward()
        gradients = {n.replace(".a0.", ".*."): p.grad for n, p in model.named_parameters() if ".a0." in n}
        torch.testing.assert_close(loss.detach(), expected.detach(), rtol=1e-5, atol=1e-6)
        torch.testing.assert_close(vector.grad[0], layout.flatten(gradients), rtol=1e-4, atol=1e-6)


def test_a_stack_of_two_adapters_equals_the_stack_of_adapters(backbone, tmp_path):
    from adapters import Stack

    (language,) = _distinct_adapters(backbone, CONFIGS["madx"], 1)
    (task,) = _distinct_adapters(backbone, CONFIGS["plain"], 1)
    task = named(task, "task", task.tensors)
    ids, labels = _batch(groups=1, rows=5, length=9)
    rows, _ = _rows(ids, labels, 1)
    stack = [
        bank_weights({k: t[None] for k, t in a.tensors.items()}, activation_named(a.settings["non_linearity"]))
        for a in (language, task)
    ]
    with torch.no_grad():
        got = FrozenEncoder(backbone).hidden_states(rows, stack)[0]
        model = adapter_model(backbone.ref)
        for adapter in (language, task):
            write_adapter(adapter, tmp_path / adapter.name)
            model.load_adapter(str(tmp_path / adapter.name))
        model.set_active_adapters(Stack("a0", "task"))
        model.active_head = None
        expected = model(input_ids=ids, attention_mask=(ids != 1).long()).last_hidden_state
    torch.testing.assert_close(got, expected[labels != -100], rtol=1e-5, atol=1e-5)


def test_the_inverse_of_the_invertible_adapter_undoes_it(backbone):
    adapters = list(_distinct_adapters(backbone, CONFIGS["madx"], 2))
    layout = Layout.of(adapters[0].tensors)
    vectors = torch.stack([layout.flatten(a.tensors) for a in adapters]).double()
    coupling = bank_weights(layout.split(vectors), activation_named("gelu_new")).coupling
    x = torch.randn(2, 7, 32, dtype=torch.float64)
    y = coupling.forward(x, activation_named("gelu_new"))
    torch.testing.assert_close(coupling.inverse(y, activation_named("gelu_new")), x)
    assert not torch.allclose(x, y)


def test_a_language_with_non_finite_weights_leaves_the_others_untouched(backbone):
    adapters = list(_distinct_adapters(backbone, CONFIGS["madx"], 2))
    layout = Layout.of(adapters[0].tensors)
    ids, labels = _batch(groups=2, rows=3, length=10)
    rows, flat_labels = _rows(ids, labels, 2)
    gradients, losses = [], []
    for poison in (0.0, float("nan")):
        vectors = torch.stack([layout.flatten(a.tensors) for a in adapters])
        vectors[1] += poison
        vectors.requires_grad_()
        weights = bank_weights(layout.split(vectors), activation_named("gelu_new"))
        sums = group_sums(token_losses(FrozenEncoder(backbone), MaskedRows(rows, flat_labels), weights), rows.valid)
        sums.sum().backward()
        gradients.append(vectors.grad[0])
        losses.append(sums[0])
    assert torch.equal(losses[0], losses[1])
    assert torch.equal(gradients[0], gradients[1])
    assert sums[1].isnan()


def test_a_layout_splits_and_flattens_without_loss(backbone):
    adapter = initial_bottleneck(backbone, CONFIGS["madx"], "x")
    layout = Layout.of(adapter.tensors)
    vector = layout.flatten(adapter.tensors)
    assert layout.size == len(vector)
    restored = layout.tensors(vector)
    assert all(torch.equal(restored[name], adapter.tensors[name]) for name in adapter.tensors)
    biases = dict(layout.shapes[-1:])
    assert all(len(shape) == 1 for shape in biases.values())


def test_settings_that_mean_another_function_are_refused(backbone):
    adapter = initial_bottleneck(backbone, CONFIGS["madx"], "x")
    check_supported(adapter)
    other = {**adapter.config, "config": {**adapter.settings, "ln_after": True, "inv_adapter": "glow"}}
    with pytest.raises(InputError, match="ln_after") as caught:
        check_supported(dataclasses.replace(adapter, config=other))
    assert len(caught.value.faults) == 2


def test_an_adapter_of_another_model_s_shape_is_refused(backbone):
    adapter = initial_bottleneck(backbone, CONFIGS["madx"], "x")
    check_fits(adapter, 32, 2)
    for hidden, layers in ((64, 2), (32, 1)):
        with pytest.raises(InputError, match="another backbone"):
            check_fits(adapter, hidden, layers)


def test_a_tensor_that_no_bank_knows_is_named():
    with pytest.raises(InputError, match="loras"):
        bank_weights({"roberta.encoder.layer.0.attention.self.query.loras.*.lora_A": torch.zeros(1, 2, 2)}, torch.relu)


@pytest.mark.parametrize("columns", [{"cpu": 3}, {}])
@pytest.mark.parametrize("cap", [None, 1.5])
def test_the_frozen_cross_entropy_equals_torch_s_in_value_and_gradient(monkeypatch, cap, columns):
    hidden = torch.randn(23, 6, requires_grad=True)
    weight, bias, labels = torch.randn(11, 6), torch.randn(11), torch.randint(0, 11, (23,))
    scale = torch.rand(23)
    logits = hidden @ weight.T + bias
    logits = logits if cap is None else cap * torch.tanh(logits / cap)
    expected = torch.nn.functional.cross_entropy(logits, labels, reduction="none")
    (gradient,) = torch.autograd.grad((expected * scale).sum(), hidden)
    monkeypatch.setattr(module, "_ROWS", 10)
    monkeypatch.setattr(module, "_COLUMNS", columns)
    monkeypatch.setattr(module, "_TILE", 40)
    got = frozen_cross_entropy(hidden, weight, bias, labels, cap)
    torch.testing.assert_close(got, expected)
    torch.testing.assert_close(torch.autograd.grad((got * scale).sum(), hidden)[0], gradient)


def test_bfloat16_products_leave_loss_and_gradient_near_those_of_float32(backbone):
    (adapter,) = _distinct_adapters(backbone, CONFIGS["madx"], 1)
    layout = Layout.of(adapter.tensors)
    ids, labels = _batch(groups=1, rows=6, length=10)
    rows, flat_labels = _rows(ids, labels, 1)
    found = []
    for enabled in (False, True):
        vectors = layout.flatten(adapter.tensors)[None].requires_grad_()
        with torch.autocast("cpu", torch.bfloat16, enabled=enabled):
            weights = bank_weights(layout.split(vectors), activation_named("gelu_new"))
            loss = token_losses(FrozenEncoder(backbone), MaskedRows(rows, flat_labels), weights).mean()
        found.append((loss.detach(), torch.autograd.grad(loss, vectors)[0]))
    (exact, gradient), (rounded, near) = found
    assert rounded.dtype == near.dtype == torch.float32
    assert abs(float(exact - rounded)) < 0.05
    assert float(torch.cosine_similarity(gradient, near)) > 0.98


@pytest.mark.parametrize("shape", [(7, 5), (3, 4, 5)])
def test_a_frozen_product_equals_the_plain_one_and_gives_no_gradient_to_its_matrix(shape):
    x = torch.randn(*shape, requires_grad=True)
    weight, bias, upstream = torch.randn(6, 5), torch.randn(6), torch.randn(*shape[:-1], 6)
    expected = torch.nn.functional.linear(x, weight, bias)
    got = frozen_linear(x, weight, bias)
    torch.testing.assert_close(got, expected)
    torch.testing.assert_close(*(torch.autograd.grad(y, x, upstream)[0] for y in (got, expected)))
    torch.testing.assert_close(frozen_linear(upstream, weight.t(), None), upstream @ weight)
