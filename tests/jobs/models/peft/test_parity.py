"""Outputs and gradients of injected adapters against PEFT's own models with the same adapters."""

from __future__ import annotations

import dataclasses
from dataclasses import replace

import numpy as np
import peft
import pytest
import torch
from tiny_models import FAMILIES, VOCABULARY, make_model
from transformers import AutoModelForCausalLM, AutoModelForMaskedLM, AutoModelForSeq2SeqLM

from jobs.adapters.formats import read_adapter, write_adapter
from jobs.models.frozen_linear import group_sums
from jobs.models.language_model import load_language_model
from jobs.models.peft.model import InjectedModel, token_losses
from jobs.models.row_dropout import RowDropout, dropouts_by_row
from jobs.models.vocabulary_head import vocabulary_head
from jobs.runtime.device_memory import SavedBytes
from jobs.spec import Ia3Config, LokrConfig, LoraConfig, PrefixConfig
from jobs.tokens.lm_batches import PromptedExample, collate, prompted
from jobs.training.initial import initial_peft

TARGETS = {
    "llama": (("q_proj", "v_proj", "down_proj"), ("down_proj",)),
    "gpt2": (("c_attn", "mlp.c_proj"), ("mlp.c_proj",)),
    "t5": (("q", "v", "wo"), ("wo",)),
    "mt5": (("q", "v", "wi_1", "wo"), ("wi_1", "wo")),
    **dict.fromkeys(("xlm-roberta", "bert", "electra"), (("query", "value", "output.dense"), ("output.dense",))),
    "deberta-v2": (("value_proj", "output.dense"), ("output.dense",)),
    "distilbert": (("q_lin", "v_lin", "lin2"), ("lin2",)),
    "modernbert": (("Wqkv", "mlp.Wo"), ("mlp.Wo",)),
}
CLASSES = {"decoder": AutoModelForCausalLM, "encoder-decoder": AutoModelForSeq2SeqLM, "encoder": AutoModelForMaskedLM}
CASES = [
    (name, kind)
    for name, family in FAMILIES.items()
    for kind in ("lora", "ia3", "lokr", "prefix")
    if (kind != "prefix" or family == "decoder") and (name, kind) != ("gpt2", "lokr")
]


def configuration(name, kind):
    targets, inputs = TARGETS.get(name, TARGETS["llama"])
    return {
        "lora": LoraConfig(2, 6.0, targets),
        "ia3": Ia3Config(targets, inputs),
        "lokr": LokrConfig(4, targets),
        "prefix": PrefixConfig(3),
    }[kind]


def variant(adapter, seed):
    """The adapter with values that matter everywhere."""
    generator = torch.Generator().manual_seed(seed)
    tensors = {n: t + 0.3 * torch.randn(t.shape, generator=generator) for n, t in adapter.tensors.items()}
    return replace(adapter, tensors=tensors)


def examples(family, seed):
    """Two of different length: prompts without a label, answers with labels."""
    rng = np.random.default_rng(seed)
    found = []
    for prompt, answer in ((4, 7), (3, 4)):
        ids, labels = (rng.integers(5, VOCABULARY, size=size) for size in (prompt, answer))
        if family == "encoder-decoder":
            found.append(PromptedExample(ids, labels))
        else:
            whole = np.concatenate([ids, labels])
            found.append(PromptedExample(whole, np.concatenate([np.full(prompt, -100), labels])))
    return found


def peft_mean_loss(model, family, chosen):
    """Mean over the labelled tokens by the library's own loss, one example at a time without padding."""
    total, count = torch.zeros(()), 0
    for example in chosen:
        ids, labels = torch.tensor(example.input_ids)[None], torch.tensor(example.labels)[None]
        if family == "encoder":
            # A decoder predicts place i from place i - 1; here both are the same place, as the rows below have it.
            ids, labels = ids[:, :-1], labels[:, 1:]
        own = int((labels[:, 1:] != -100).sum()) if family == "decoder" else int((labels != -100).sum())
        total = total + model(input_ids=ids, labels=labels).loss * own
        count += own
    return total / count


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    made = {}

    def get(name):
        if name not in made:
            ref = make_model(tmp_path_factory.mktemp(name), name)
            made[name] = (ref, load_language_model(ref, "cpu"))
        return made[name]

    return get


def peft_gradients(model, adapter):
    """The gradients by the names of `adapter`."""
    if adapter.kind == "prefix":
        return {"prompt_embeddings": model.prompt_encoder["default"].embedding.weight.grad}
    named = {name.replace(".default", ""): p.grad for name, p in model.named_parameters() if p.grad is not None}
    return {name: named[name] for name in adapter.tensors}


@pytest.mark.parametrize("name", ["llama", "t5", "xlm-roberta"])
def test_the_dropout_of_lora_is_where_peft_has_it(models, tmp_path, name):
    """The same masks in both: the same loss and gradients."""
    ref, model = models(name)
    theta_pre = initial_peft(model, replace(configuration(name, "lora"), dropout=0.3), "theta_pre")
    assert theta_pre.settings["lora_dropout"] == 0.3
    adapter = variant(theta_pre, 0)
    injected = InjectedModel(model, adapter)
    chosen = [
        prompted(one, model)._replace(dropout=RowDropout(7 + n, 0.3)) for n, one in enumerate(examples(model.family, 0))
    ]
    batch = collate([chosen], model)
    vector = injected.layout.flatten(adapter.tensors)[None].requires_grad_()
    losses = injected.token_losses(batch, vector)
    losses.mean().backward()
    assert not torch.allclose(
        losses, injected.token_losses(collate([[e._replace(dropout=None) for e in chosen]], model), vector)
    )

    write_adapter(adapter, tmp_path / "adapter")
    plain = CLASSES[model.family].from_pretrained(ref.path)
    wrapped = peft.PeftModel.from_pretrained(plain, str(tmp_path / "adapter"), is_trainable=True).eval()
    own = dataclasses.replace(model, model=wrapped, head=vocabulary_head(wrapped.base_model.model, name == "t5", name))
    for module in dropouts_by_row(wrapped, "default"):
        module.dropout = batch.rows.dropout
    expected = token_losses(own, batch)
    expected.mean().backward()
    gradients = peft_gradients(wrapped, adapter)
    torch.testing.assert_close(losses, expected, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(vector.grad[0], injected.layout.flatten(gradients), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("name", "kind"), CASES)
def test_losses_and_gradients_are_those_of_peft(models, tmp_path, name, kind):
    ref, model = models(name)
    theta_pre = initial_peft(model, configuration(name, kind), "theta_pre")
    adapters = [variant(theta_pre, seed) for seed in range(3)]
    chosen = [examples(model.family, seed) for seed in range(3)]
    injected = InjectedModel(model, theta_pre)
    vectors = torch.stack([injected.layout.flatten(one.tensors) for one in adapters]).requires_grad_()
    batch = collate([[prompted(one, model) for one in group] for group in chosen], model)
    means = group_sums(injected.token_losses(batch, vectors), batch.rows.valid) / batch.rows.valid.sum(1)
    (gradients,) = torch.autograd.grad(means.sum(), vectors)
    assert not any(parameter.requires_grad for parameter in model.model.parameters())
    for number, adapter in enumerate(adapters):
        directory = tmp_path / str(number)
        write_adapter(adapter, directory)
        plain = CLASSES[model.family].from_pretrained(ref.path, attn_implementation="eager")
        # PEFT loads no prefix as trainable.
        reference = peft.PeftModel.from_pretrained(plain, str(directory), is_trainable=kind != "prefix").eval()
        if kind == "prefix":
            reference.prompt_encoder["default"].requires_grad_(True)
        expected = peft_mean_loss(reference, model.family, chosen[number])
        expected.backward()
        assert means[number].item() == pytest.approx(expected.item(), rel=1e-5)
        wanted = injected.layout.flatten(peft_gradients(reference, adapter))
        scale = float(wanted.abs().max())
        assert scale > 0
        torch.testing.assert_close(gradients[number], wanted, atol=2e-5 * max(1.0, scale), rtol=1e-4)
        alone = injected.token_losses(
            collate([[prompted(one, model) for one in chosen[number]]], model), vectors[number : number + 1].detach()
        )
        assert float(alone.mean()) == pytest.approx(means[number].item(), rel=1e-5)


@pytest.mark.parametrize(
    ("name", "kind"), [("llama", "lora"), ("gemma2", "prefix"), ("qwen3", "prefix"), ("mt5", "lora")]
)
def test_generation_is_that_of_peft(models, tmp_path, name, kind):
    ref, model = models(name)
    adapter = variant(initial_peft(model, configuration(name, kind), "theta_pre"), 5)
    write_adapter(adapter, tmp_path)
    reference = peft.PeftModel.from_pretrained(
        CLASSES[model.family].from_pretrained(ref.path, attn_implementation="eager"), str(tmp_path)
    ).eval()
    injected = InjectedModel(model, adapter)
    prompts = {"input_ids": torch.tensor([[7, 20, 9, 11, 30], [8, 40, 33, 50, 12]])}
    prompts["attention_mask"] = torch.ones_like(prompts["input_ids"])
    with injected.applied(injected.layout.flatten(adapter.tensors)[None]):
        found = injected.model.generate(**prompts, max_new_tokens=8, do_sample=False)
    assert torch.equal(found, reference.generate(**prompts, max_new_tokens=8, do_sample=False))
    plain = injected.model.generate(**prompts, max_new_tokens=8, do_sample=False)
    assert not torch.equal(found, plain)


@pytest.mark.parametrize("kind", ["lora", "ia3", "lokr"])
def test_the_initial_adapter_changes_nothing_and_depends_on_its_seed_alone(models, tmp_path, kind):
    _, model = models("qwen2")
    config = configuration("qwen2", kind)
    torch.manual_seed(1)
    first = initial_peft(model, config, "theta_pre")
    torch.manual_seed(2)
    again = initial_peft(model, config, "theta_pre")
    assert all(torch.equal(tensor, again.tensors[name]) for name, tensor in first.tensors.items())
    injected = InjectedModel(model, first)
    batch = collate([[prompted(one, model) for one in examples("decoder", 1)]], model)
    vectors = injected.layout.flatten(first.tensors)[None]
    assert torch.equal(injected.token_losses(batch, vectors), token_losses(model, batch))
    write_adapter(first, tmp_path)
    assert read_adapter(tmp_path).kind == kind


@pytest.mark.parametrize(
    ("name", "kind"),
    [*(("llama", kind) for kind in ("lora", "ia3", "lokr", "prefix")), ("mt5", "lora"), ("gemma2", "ia3")],
)
def test_bfloat16_weights_as_on_a_gpu_leave_losses_and_gradients_near_those_of_float32(tmp_path, name, kind):
    ref = make_model(tmp_path, name)
    model = load_language_model(ref, "cpu")
    adapter = variant(initial_peft(model, configuration(name, kind), "theta_pre"), 4)
    batch = collate([[prompted(one, model) for one in examples(model.family, 1)]], model)
    found = []
    for dtype in (torch.float32, torch.bfloat16):
        model.model.to(dtype)
        injected = InjectedModel(model, adapter)
        vectors = injected.layout.flatten(adapter.tensors)[None].requires_grad_()
        losses = injected.token_losses(batch, vectors)
        assert losses.dtype == torch.float32
        found.append((losses.mean(), torch.autograd.grad(losses.mean(), vectors)[0][0]))
    (plain, expected), (near, gradient) = found
    assert near.item() == pytest.approx(plain.item(), rel=0.05)
    assert gradient.dtype == torch.float32
    assert torch.nn.functional.cosine_similarity(gradient, expected, dim=0).item() > 0.9


def test_nothing_is_kept_for_layers_below_the_first_adapter(models):
    _, model = models("llama")
    batch = collate([[prompted(one, model) for one in examples("decoder", 1)]], model)
    kept = []
    for layer in (0, 1):
        adapter = initial_peft(model, LoraConfig(2, 4.0, (f"layers.{layer}.self_attn.q_proj",)), "theta_pre")
        injected = InjectedModel(model, adapter)
        counter = SavedBytes.beside(model.model.parameters())
        with counter.counting():
            injected.token_losses(batch, injected.layout.flatten(adapter.tensors)[None].requires_grad_())
        kept.append(counter.total)
    assert kept[1] < 0.6 * kept[0]
