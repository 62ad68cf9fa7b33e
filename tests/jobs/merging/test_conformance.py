"""The conformance table of docs/arithmetic.md: every kind and option of PEFT under a linear merge, beside PEFT's own.

Adapters are made by plain PEFT with random values. What a merge ought to be is taken from `merge_and_unload` of each
source alone: the backbone's weights plus the weighted changes (for (IA)3, which multiplies, the weighted products). A
cell is `exact` within 1e-5 of the change, the relative error where it is more, or the reason of a refusal.
ADAPTERFLEET_WRITE_TABLES=1 writes the table into the page.
"""

from __future__ import annotations

import os
from copy import deepcopy
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path

import pytest
import torch
from peft import (
    AdaLoraConfig,
    IA3Config,
    LoHaConfig,
    LoKrConfig,
    LoraConfig,
    OFTConfig,
    PeftModel,
    PrefixTuningConfig,
    VeraConfig,
    get_peft_model,
)
from safetensors.torch import load_file
from tiny_adapters import randomize, write_recipe
from transformers import GPT2Config, GPT2LMHeadModel, LlamaConfig, LlamaForCausalLM

from jobs.errors import InputError
from jobs.merging.merge import merge

PAGE = Path(__file__).parents[3] / "docs/arithmetic.md"
MARKS = ("<!-- conformance: written by tests/jobs/merging/test_conformance.py -->", "<!-- end of conformance -->")
CASES = {"identity": (1.0,), "sum": (1.0, 1.0), "signed": (1.5, -0.5), "zero": (0.0,)}
PEFT_OWN = ("svd", "linear", "cat")


def llama():
    torch.manual_seed(0)
    return LlamaForCausalLM(
        LlamaConfig(
            vocab_size=64, hidden_size=32, num_hidden_layers=1, num_attention_heads=4, num_key_value_heads=2,
            intermediate_size=48, attention_bias=True,
        )
    ).eval()  # fmt: skip


def gpt2():
    torch.manual_seed(0)
    return GPT2LMHeadModel(GPT2Config(vocab_size=64, n_embd=32, n_layer=1, n_head=4, n_positions=40)).eval()


QV = {"target_modules": ["q_proj", "v_proj"], "task_type": "CAUSAL_LM"}
lora = partial(LoraConfig, r=4, lora_alpha=6, **QV)


@dataclass(frozen=True)
class Row:
    """`configs`: of the two sources. `summed`: what the weights are of."""

    name: str
    configs: tuple[object, object]
    summed: str = "ΔW"
    model: object = llama
    space: str = ""


def both(name, make, **more):
    return Row(name, (make(), make()), **more)


ROWS = (
    both("LoRA", lora),
    Row("LoRA, ranks 2 and 4", (lora(r=2), lora())),
    both("rsLoRA", partial(lora, use_rslora=True)),
    Row(
        "`rank_pattern`, `alpha_pattern`",
        (lora(rank_pattern={"layers.0.self_attn.q_proj": 2}), lora(alpha_pattern={"v_proj": 3})),
    ),
    both("`bias: lora_only`", partial(lora, bias="lora_only")),
    both("`lora_bias`", partial(lora, lora_bias=True)),
    both("DoRA", partial(lora, use_dora=True)),
    both("DoRA, `space: factors`", partial(lora, use_dora=True), space="factors", summed="parameters"),
    both("PiSSA", partial(lora, init_lora_weights="pissa")),
    both("activated LoRA", partial(lora, alora_invocation_tokens=[5])),
    both("`fan_in_fan_out` (GPT-2)", partial(LoraConfig, r=4, target_modules=["c_attn"], fan_in_fan_out=True), model=gpt2),
    both("`modules_to_save`", partial(lora, modules_to_save=["norm"])),
    both("trained tokens", partial(lora, trainable_token_indices=[3, 7])),
    both("LoRA on embeddings", partial(LoraConfig, r=4, target_modules=["embed_tokens"])),
    both("LoKr", partial(LoKrConfig, r=8, alpha=4, **QV)),
    both("LoHa", partial(LoHaConfig, r=4, **QV)),
    both("AdaLoRA", partial(AdaLoraConfig, init_r=4, total_step=10, **QV)),
    both("VeRA", partial(VeraConfig, r=4, target_modules=["q_proj"])),
    both("OFT", partial(OFTConfig, oft_block_size=8, target_modules=["q_proj"])),
    both("(IA)3", partial(IA3Config, feedforward_modules=[], **QV), summed="factors"),
    both("prefix", partial(PrefixTuningConfig, num_virtual_tokens=3, task_type="CAUSAL_LM"), summed="prefixes"),
)  # fmt: skip


@lru_cache
def kept(make):
    return make()


def fresh(make):
    """A copy of the model that nothing has touched."""
    return deepcopy(kept(make))


def saved(folder, row):
    for seed, config in enumerate(row.configs, start=1):
        model = get_peft_model(fresh(row.model), config)
        randomize({name: value for name, value in model.named_parameters() if value.requires_grad}, seed)
        model.create_or_update_model_card = lambda *_: None  # a page for people takes longer than all the rest
        model.save_pretrained(folder / f"s{seed}")


def weights_of(row, model):
    """What the model computes with: its own weights with the adapter in them; of prefixes the embeddings."""
    if row.summed == "prefixes":
        return {"prefix": model.prompt_encoder[model.active_adapter].embedding.weight.detach()}
    return {name: value.detach().clone() for name, value in model.merge_and_unload().state_dict().items()}


def loaded(row, folder):
    return weights_of(row, PeftModel.from_pretrained(fresh(row.model), str(folder)))


def bare(row, like):
    if row.summed == "prefixes":
        return {name: torch.zeros_like(value) for name, value in like.items()}
    return fresh(row.model).state_dict()


def expected(row, base, sources, weights):
    """By the definition, out of the sources' own weights."""
    found = {}
    for name, before in base.items():
        changes = [source[name] - before for source in sources]
        if row.summed == "factors" and any(change.abs().max() > 0 for change in changes):
            found[name] = sum(w * source[name] for w, source in zip(weights, sources, strict=False))
        else:
            found[name] = before + sum(w * change for w, change in zip(weights, changes, strict=False))
    return found


def norm(one, other):
    return sum(float(((one[name] - other[name]).double() ** 2).sum()) for name in one) ** 0.5


def told(error):
    return "exact" if error < 1e-5 else f"{error:.2g}"


def measured(row, base, sources, weights, found):
    right = expected(row, base, sources, weights)
    return told(norm(found, right) / max(norm(right, base), norm(sources[0], base)))


def ours(folder, row, base, sources, case):
    listed = [{"adapter": f"s{number}", "weight": w} for number, w in enumerate(CASES[case], start=1)]
    spaced = {"space": row.space} if row.space else {}
    recipe = write_recipe(folder / f"{case}.yaml", method="linear", sources=listed, name="x", **spaced)
    try:
        out = merge(recipe, folder / case).path
    except InputError as refusal:
        fault = refusal.faults[0]
        return f"refused: {fault.what}"
    return measured(row, base, sources, CASES[case], loaded(row, out))


def pefts(folder, row, base, sources, case, combination):
    try:
        model = PeftModel.from_pretrained(fresh(row.model), str(folder / "s1"), adapter_name="s1")
        names = [f"s{number + 1}" for number in range(len(CASES[case]))]
        for name in names[1:]:
            model.load_adapter(str(folder / name), adapter_name=name)
        asked = {"combination_type": combination} if combination else {}
        model.add_weighted_adapter(names, list(CASES[case]), "merged", **asked)
        model.set_adapter("merged")
        return measured(row, base, sources, CASES[case], weights_of(row, model))
    except AttributeError:
        return "none"
    except Exception as error:  # noqa: BLE001 - whatever it is, it is what PEFT gives
        return type(error).__name__


def peft_cells(folder, row, base, sources):
    """A cell for each of PEFT's combinations; of one adapter alone they are all the same."""
    combinations = PEFT_OWN if isinstance(row.configs[0], LoraConfig) else ("",)
    alone = {case: pefts(folder, row, base, sources, case, combinations[0]) for case in ("identity", "zero")}
    cells = []
    for one in combinations:
        found = [alone.get(case) or pefts(folder, row, base, sources, case, one) for case in CASES]
        cells.append(found[0] if len(set(found)) == 1 else " · ".join(found))
    return [*cells, *[""] * (len(PEFT_OWN) - len(cells))]


def line(folder, row):
    saved(folder, row)
    try:
        sources = [loaded(row, folder / name) for name in ("s1", "s2")]
    except NotImplementedError:  # PEFT itself cannot put activated LoRA into weights, and so cannot merge it
        return [row.name, "", ours(folder, row, {}, [], "identity"), "", "", "", "", "", ""]
    base = bare(row, sources[0])
    own = [ours(folder, row, base, sources, case) for case in CASES]
    own = [own[0], "", "", ""] if all(cell.startswith("refused") for cell in own) else own
    return [row.name, row.summed, *own, *peft_cells(folder, row, base, sources)]


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    return {row.name: line(tmp_path_factory.mktemp("row"), row) for row in ROWS}


def written(table):
    head = ["", "summed", *CASES, *(f"PEFT `{one}`" for one in PEFT_OWN)]
    lines = [head, ["---"] * len(head), *table.values()]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def test_the_page_holds_the_table(table):
    text = PAGE.read_text(encoding="utf-8")
    before, _, rest = text.partition(MARKS[0])
    held, _, after = rest.partition(MARKS[1])
    if os.environ.get("ADAPTERFLEET_WRITE_TABLES"):
        PAGE.write_text(f"{before}{MARKS[0]}\n\n{written(table)}\n\n{MARKS[1]}{after}", encoding="utf-8")
        return
    assert held.strip().splitlines() == written(table).splitlines(), "run it with ADAPTERFLEET_WRITE_TABLES=1"


def test_what_is_merged_is_exact_and_everything_else_is_refused(table):
    """But in the space of factors, where DoRA's parameters are summed apart, and what they do is no sum of them."""
    for row in table.values():
        known = row[1] == "parameters"
        assert all(cell == "exact" or known or cell.startswith("refused: ") for cell in row[2:6] if cell), row
        assert row[2] == "exact" or row[3:6] == ["", "", ""], "one adapter of weight 1 comes back, or nothing does"


def test_prefixes_are_what_their_files_say(table, tmp_path):
    """The oracle of prefixes reads PEFT's module; the files hold the same numbers."""
    row = next(row for row in ROWS if row.name == "prefix")
    saved(tmp_path, row)
    stored = load_file(tmp_path / "s1/adapter_model.safetensors")["prompt_embeddings"]
    assert torch.equal(stored, loaded(row, tmp_path / "s1")["prefix"])
