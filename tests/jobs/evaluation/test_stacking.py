"""Task adapters of PEFT's kinds trained on top of a frozen language adapter, and scored on top of another (MAD-X)."""

from __future__ import annotations

from dataclasses import replace

import peft
import pytest
import torch
from prompted_fleet import LORA, PICK, Fleet
from stacks import stack_of
from transformers import AutoModelForCausalLM

from jobs.adapters.formats import read_adapter, write_adapter
from jobs.adapters.loading_code import peft_stacking_code
from jobs.errors import InputError
from jobs.evaluation.language_evaluator import LanguageEvaluator
from jobs.files.digest import directory_digest
from jobs.models.peft.model import applied_adapters
from jobs.spec import BackboneRef, Ia3Config, PrefixConfig
from jobs.worker import Worker

PICK_SHORT = replace(PICK, max_new_tokens=4)
IA3 = Ia3Config(("k_proj", "v_proj", "down_proj"), ("down_proj",))


@pytest.fixture(scope="module")
def worker():
    return Worker()


def language_adapter(fleet, name):
    """theta_pre moved away from where it does nothing."""
    adapter = read_adapter(fleet.theta_pre)
    generator = torch.Generator().manual_seed(3)
    tensors = {
        name: tensor + 0.3 * torch.randn(tensor.shape, generator=generator) for name, tensor in adapter.tensors.items()
    }
    write_adapter(replace(adapter, tensors=tensors, name=name), fleet.folder / name)
    return fleet.folder / name


@pytest.mark.parametrize("adapter", [LORA, IA3], ids=["lora", "ia3"])
def test_training_on_top_is_training_a_backbone_that_has_swallowed_the_language_adapter(tmp_path, worker, adapter):
    fleet = Fleet(tmp_path, worker, "llama", adapter)
    language = language_adapter(fleet, "language")
    spec = fleet.spec(PICK_SHORT, steps=6, evaluate_every=3)
    result, stacked = fleet.run("stacked", spec, {"theta_pre": fleet.theta_pre, "language:gl": language})
    assert result.details["on_top_of"] == "gl"

    whole = AutoModelForCausalLM.from_pretrained(fleet.backbone.path)
    swallowed = tmp_path / "swallowed"
    peft.PeftModel.from_pretrained(whole, language).merge_and_unload().save_pretrained(swallowed)
    for file in (tmp_path / "model").glob("*token*"):
        (swallowed / file.name).write_bytes(file.read_bytes())
    backbone = BackboneRef("swallowed", directory_digest(swallowed), str(swallowed))
    _, alone = fleet.train("alone", replace(spec, backbone=backbone))
    ours, theirs = read_adapter(stacked).tensors, read_adapter(alone).tensors
    start = read_adapter(fleet.theta_pre).tensors
    assert any(not torch.allclose(ours[name], start[name], atol=1e-3) for name in start), "nothing was learned"
    for name in ours:
        torch.testing.assert_close(ours[name], theirs[name], atol=2e-4, rtol=2e-3)

    under = {"language:gl": language, "task": stacked}
    one, _ = fleet.run("scored-stack", fleet.evaluation({"language:gl": 1.0}, PICK_SHORT), under)
    plain = replace(fleet.evaluation({"task:gl": 1.0}, PICK_SHORT), backbone=backbone)
    other, _ = fleet.run("scored-alone", plain, {"task:gl": alone})
    assert one.metrics == pytest.approx(other.metrics)


def test_what_the_card_says_loads_the_stack_in_peft(tmp_path, worker):
    fleet = Fleet(tmp_path, worker)
    language = language_adapter(fleet, "language")
    task = language_adapter(fleet, "task")
    model = peft.PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(fleet.backbone.path), task)
    exec(peft_stacking_code(str(language)), {"model": model})
    evaluator = LanguageEvaluator(fleet.backbone, tmp_path / "cache", "cpu")
    ids = torch.tensor([[5, 6, 7, 8]])
    with torch.no_grad():
        theirs = model(input_ids=ids).logits
        with applied_adapters(evaluator.model, evaluator.acting(stack_of(((language, 1.0),), task, method="linear"))):
            ours = evaluator.model.model(input_ids=ids).logits
    torch.testing.assert_close(ours, theirs, atol=1e-4, rtol=1e-4)


def test_a_prefix_below_is_refused(tmp_path, worker):
    fleet = Fleet(tmp_path, worker, "llama", PrefixConfig(3))
    inputs = {"theta_pre": fleet.theta_pre, "language:gl": fleet.theta_pre}
    with pytest.raises(InputError, match="prefixes cannot be stacked"):
        fleet.run("stacked", fleet.spec(PICK_SHORT, steps=2), inputs)
