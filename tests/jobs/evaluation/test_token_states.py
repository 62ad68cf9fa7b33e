"""States that languages are compared by, against transformers' own pass of one text at a time."""

import pytest
import torch
from tiny_models import make_model
from transformers import AutoModel, AutoModelForCausalLM, AutoTokenizer

from jobs.errors import InputError
from jobs.evaluation.token_states import middle_layer, token_states
from jobs.models.language_model import load_language_model

TEXTS = ["w1 w2 w3 w4", "w9", "w5 w6 w7 w8 w1 w2 w3", "", "w11 w12"]


def one_by_one(model, tokenizer, layer, strip):
    """As the authors' code has it: a pass a text, the layer's states without the first and the last token."""
    found = []
    for text in filter(None, TEXTS):
        with torch.inference_mode():
            ids = tokenizer(text, return_tensors="pt")["input_ids"]
            states = model(input_ids=ids, output_hidden_states=True).hidden_states[layer][0]
        found.append(states[1:-1] if strip else states)
    return torch.cat(found).numpy()


@pytest.mark.parametrize("name", ["xlm-roberta", "bert", "llama", "mt5"])
def test_states_are_those_of_one_text_at_a_time(tmp_path, name):
    model = load_language_model(make_model(tmp_path, name), "cpu", lambda device, encoder: "float32")
    load = AutoModelForCausalLM if name == "llama" else AutoModel
    plain = load.from_pretrained(tmp_path).eval()
    plain = plain.get_encoder() if name == "mt5" else plain
    tokenizer = AutoTokenizer.from_pretrained(tmp_path)
    strips = len(tokenizer("w1")["input_ids"]) == 3
    found = token_states(model, TEXTS, 1)
    assert found.shape == (14, 32)
    assert found == pytest.approx(one_by_one(plain, tokenizer, 1, strips), abs=1e-5)


def test_the_layer_is_two_thirds_of_the_depth_and_one_that_exists(tmp_path):
    model = load_language_model(make_model(tmp_path, "xlm-roberta"), "cpu")
    depth = model.model.config.num_hidden_layers
    assert middle_layer(model) == max(1, round(depth * 8 / 12))
    assert token_states(model, [], 1).shape[0] == 0 and token_states(model, [""], 1).shape[0] == 0
    with pytest.raises(InputError, match=f"no such layer.*{depth}"):
        token_states(model, TEXTS, depth + 1)
