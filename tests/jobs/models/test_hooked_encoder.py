"""Losses and gradients in encoders whose pass is transformers' own, against the `adapters` library and plain models."""

from __future__ import annotations

import adapters
import pytest
import torch
from tiny_backbone import MODELS, adapter_model, make_backbone
from torch.nn import functional as F
from transformers import AutoModelForMaskedLM

from jobs.adapters.adapter import named
from jobs.adapters.adapterhub import write_adapter
from jobs.models.encoder import FrozenEncoder, activation_named, token_losses
from jobs.models.flat_layout import Layout
from jobs.models.frozen_linear import group_sums
from jobs.models.hooked_encoder import HookedEncoder, encoder_of
from jobs.models.madx import bank_weights
from jobs.models.madx_backbone import load_backbone
from jobs.models.rows import MaskedRows, Rows
from jobs.spec import BottleneckConfig
from jobs.training.initial import initial_bottleneck

HOOKED = sorted(set(MODELS) - {"bert", "xlm-roberta"})
GROUPS, ROWS, LENGTH = 3, 2, 11


@pytest.fixture(scope="module", params=HOOKED)
def backbone(request, tmp_path_factory):
    return load_backbone(make_backbone(tmp_path_factory.mktemp("model"), request.param, num_hidden_layers=4), "cpu")


def library_model(backbone):
    """The model that `adapters` has adapters in: of its own class, or transformers' that it finds its way in."""
    if backbone.model.config.model_type != "modernbert":
        return adapter_model(backbone.ref)
    model = AutoModelForMaskedLM.from_pretrained(backbone.ref.path).requires_grad_(False).eval()
    adapters.init(model)
    for layer in model.model.layers:
        # A bias that the plain model does not have, with random values: `adapters` 1.3.0 wraps this module so.
        layer.attn.Wqkv.bias = None
    return model


def distinct(backbone, config, count):
    base = initial_bottleneck(backbone, config, "base")
    draw = torch.Generator().manual_seed(5)
    tensors = [{n: torch.randn(t.shape, generator=draw) * 0.3 for n, t in base.tensors.items()} for _ in range(count)]
    return [named(base, f"a{number}", own) for number, own in enumerate(tensors)]


def batch():
    """Rows of unequal lengths, three masked words in each."""
    draw = torch.Generator().manual_seed(1)
    ids = torch.randint(5, 200, (GROUPS * ROWS, LENGTH), generator=draw)
    keep = torch.arange(LENGTH) < torch.tensor([11, 8, 5, 11, 7, 10])[:, None]
    ids[:, 0] = 0
    places = torch.tensor([[1, 3, 4]]).expand(GROUPS * ROWS, -1)
    labels = torch.full_like(ids, -100).scatter(1, places, ids.gather(1, places))
    ids = torch.where(keep, ids.scatter(1, places, 4), 1)
    wanted = (labels != -100).reshape(GROUPS, -1).nonzero()[:, 1].reshape(GROUPS, -1)
    return Rows(ids, keep, wanted, torch.ones_like(wanted, dtype=torch.bool)), labels


def own(encoder, found, rows, labels):
    """Mean loss of each group, and the gradients of its adapter."""
    layout = Layout.of(found[0].tensors)
    vectors = torch.stack([layout.flatten(one.tensors) for one in found]).requires_grad_()
    weights = bank_weights(layout.split(vectors), activation_named("gelu_new"))
    losses = token_losses(encoder, MaskedRows(rows, labels[labels != -100]), weights)
    means = group_sums(losses, rows.valid) / rows.valid.sum(1)
    means.sum().backward()
    return means.detach(), [layout.split(one[None]) for one in vectors.grad]


@pytest.mark.parametrize("leave_out", [(), (-1,)], ids=["all layers", "without the last"])
def test_loss_and_gradients_of_each_language_equal_the_library_s(backbone, tmp_path, leave_out):
    found = distinct(backbone, BottleneckConfig(leave_out=leave_out), GROUPS)
    rows, labels = batch()
    encoder = encoder_of(backbone)
    assert isinstance(encoder, HookedEncoder)
    means, gradients = own(encoder, found, rows, labels)
    model = library_model(backbone)
    for group, adapter in enumerate(found):
        write_adapter(adapter, tmp_path / adapter.name)
        model.load_adapter(str(tmp_path / adapter.name), set_active=True)
        model.train_adapter(adapter.name)
        model.eval()
        mine = slice(ROWS * group, ROWS * (group + 1))
        loss = model(input_ids=rows.ids[mine], attention_mask=rows.keep[mine].long(), labels=labels[mine]).loss
        loss.backward()
        torch.testing.assert_close(means[group], loss.detach(), rtol=1e-5, atol=1e-6)
        expected = {
            n.replace(f".{adapter.name}.", ".*."): p.grad
            for n, p in model.named_parameters()
            if f".{adapter.name}." in n
        }
        assert set(expected) == set(adapter.tensors)
        for name, gradient in expected.items():
            assert gradient.abs().max() > 0
            torch.testing.assert_close(gradients[group][name][0], gradient, rtol=1e-3, atol=1e-6)


def test_the_library_itself_makes_the_same_theta_pre(backbone, tmp_path):
    for seed in (42, 0):
        model = library_model(backbone)
        torch.manual_seed(seed)
        config = adapters.SeqBnInvConfig(
            reduction_factor=2, non_linearity="gelu_new", init_weights_seed=seed, leave_out=[3]
        )
        model.add_adapter("own", config=config)
        model.save_adapter(str(tmp_path), "own", with_head=False)
        expected = {n.replace(".own.", ".*."): t for n, t in model.state_dict().items() if ".own." in n}
        adapter = initial_bottleneck(backbone, BottleneckConfig(init_seed=seed, leave_out=(-1,)), "own")
        assert set(adapter.tensors) == set(expected)
        assert all(torch.equal(adapter.tensors[name], tensor) for name, tensor in expected.items())
        document = adapters.loading.AdapterLoader(model).save_to_state_dict("own")[1]
        assert {**document, "model_name": "tiny"} == adapter.config


def gelu_new(x):
    return F.gelu(x, approximate="tanh")


def bottleneck(tensors, place, x):
    own = {end: tensors[f"{place}.adapters.*.{end}"] for end in ("adapter_down.0.weight", "adapter_down.0.bias")}
    down = gelu_new(F.linear(x, *own.values()))
    return F.linear(
        down, tensors[f"{place}.adapters.*.adapter_up.weight"], tensors[f"{place}.adapters.*.adapter_up.bias"]
    )


def half(tensors, which, x):
    first, second = (
        [tensors[f"model.invertible_adapters.*.{which}.{n}.{end}"] for end in ("weight", "bias")] for n in (0, 2)
    )
    return F.linear(gelu_new(F.linear(x, *first)), *second)


def modernbert(model, tensors, ids, keep):
    """ModernBERT in formulas from its paper, one row at a time without padding, with MAD-X's parts: its logits."""
    config, state = model.config, model.state_dict()
    norm = lambda x, at: F.layer_norm(x, x.shape[-1:], state[f"{at}.weight"], None, config.norm_eps)  # noqa: E731
    x = norm(state["model.embeddings.tok_embeddings.weight"][ids[keep]], "model.embeddings.norm")
    one, two = x.chunk(2, -1)
    one = one + half(tensors, "F", two)
    x = torch.cat((one, two + half(tensors, "G", one)), -1)
    length, width = len(x), config.hidden_size // config.num_attention_heads
    near = (torch.arange(length)[:, None] - torch.arange(length)).abs() <= config.local_attention // 2
    for layer in range(config.num_hidden_layers):
        at, everywhere = f"model.layers.{layer}", layer % config.global_attn_every_n_layers == 0
        theta = config.global_rope_theta if everywhere else config.local_rope_theta
        angles = torch.arange(length)[:, None] * theta ** (-torch.arange(0, width, 2) / width)
        turn = torch.polar(torch.ones_like(angles), angles)
        given = norm(x, f"{at}.attn_norm") if layer else x
        q, k, v = F.linear(given, state[f"{at}.attn.Wqkv.weight"]).view(length, 3, -1, width).unbind(1)
        q, k = (_turned(part, turn) for part in (q, k))
        scores = torch.einsum("ihd,jhd->hij", q, k) / width**0.5
        scores = scores if everywhere else scores.masked_fill(~near, -torch.inf)
        mixed = torch.einsum("hij,jhd->ihd", scores.softmax(-1), v).reshape(length, -1)
        x = x + F.linear(mixed, state[f"{at}.attn.Wo.weight"])
        given = norm(x, f"{at}.mlp_norm")
        value, gate = F.linear(given, state[f"{at}.mlp.Wi.weight"]).chunk(2, -1)
        out = F.linear(F.gelu(value) * gate, state[f"{at}.mlp.Wo.weight"])
        x = x + out + bottleneck(tensors, f"{at}.output_adapters", out + given)
    x = norm(F.gelu(F.linear(norm(x, "model.final_norm"), state["head.dense.weight"])), "head.norm")
    one, two = x.chunk(2, -1)
    two = two - half(tensors, "G", one)
    x = torch.cat((one - half(tensors, "F", two), two), -1)
    return F.linear(x, state["decoder.weight"], state["decoder.bias"])


def _turned(x, turn):
    """Pairs (d, d + width / 2) of x [length, heads, width] as complex numbers, turned by an angle for each place."""
    turned = torch.complex(*x.chunk(2, -1)) * turn[:, None]
    return torch.cat((turned.real, turned.imag), -1)


def test_modernbert_is_what_its_paper_s_formulas_say_with_the_adapter_after_the_feed_forward_part(tmp_path):
    backbone = load_backbone(make_backbone(tmp_path, "modernbert", num_hidden_layers=4), "cpu")
    found = distinct(backbone, BottleneckConfig(), GROUPS)
    rows, labels = batch()
    means, gradients = own(encoder_of(backbone), found, rows, labels)
    for group, adapter in enumerate(found):
        tensors = {name: tensor.clone().requires_grad_() for name, tensor in adapter.tensors.items()}
        losses = []
        for row in range(ROWS * group, ROWS * (group + 1)):
            keep = rows.keep[row]
            logits = modernbert(backbone.model, tensors, rows.ids[row], keep)
            losses.append(F.cross_entropy(logits, labels[row][keep], reduction="sum") / 6)
        sum(losses).backward()
        torch.testing.assert_close(means[group], sum(losses).detach(), rtol=1e-5, atol=1e-5)
        for name, tensor in tensors.items():
            torch.testing.assert_close(gradients[group][name][0], tensor.grad, rtol=1e-3, atol=1e-5)


def test_hooks_in_bert_compute_what_the_pass_that_is_written_out_computes(tmp_path):
    backbone = load_backbone(make_backbone(tmp_path, "bert"), "cpu")
    found = distinct(backbone, BottleneckConfig(), GROUPS)
    rows, labels = batch()
    (means, gradients), (expected, exactly) = (
        own(encoder, found, rows, labels) for encoder in (HookedEncoder(backbone), FrozenEncoder(backbone))
    )
    torch.testing.assert_close(means, expected, rtol=1e-5, atol=1e-6)
    for got, wanted in zip(gradients, exactly, strict=True):
        torch.testing.assert_close(got, wanted, rtol=1e-4, atol=1e-6)
