"""A GGUF file of a small Llama, written here, against the model that went into it."""

import numpy as np
import pytest
import torch
from gguf import GGUFWriter
from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaConfig, LlamaForCausalLM

from jobs.backbones.smollm2 import convert
from jobs.errors import InputError

CONTROL = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
LETTERS = [*"abcdefghij0123456789", "Ġ", "Ċ", "ab", "Ġa"]
TEMPLATE = "{% for m in messages %}<|im_start|>{{ m['role'] }}{{ m['content'] }}<|im_end|>{% endfor %}"
NAMES = {
    "input_layernorm": "attn_norm", "post_attention_layernorm": "ffn_norm", "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k", "self_attn.v_proj": "attn_v", "self_attn.o_proj": "attn_output",
    "mlp.gate_proj": "ffn_gate", "mlp.up_proj": "ffn_up", "mlp.down_proj": "ffn_down",
}  # fmt: skip


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(5)
    sizes = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4}
    config = LlamaConfig(**sizes, num_key_value_heads=2, vocab_size=27, max_position_embeddings=64, rope_theta=100000.0,
                         tie_word_embeddings=True, rms_norm_eps=1e-5)  # fmt: skip
    return LlamaForCausalLM(config).eval()


def interleaved(weight, heads):
    """llama.cpp's order of the rows of queries and keys: halves of a head become neighbours."""
    rows, width = weight.shape
    return weight.reshape(heads, 2, rows // heads // 2, width).swapaxes(1, 2).reshape(rows, width)


def written(path, model, pre="smollm"):
    writer = GGUFWriter(path, "llama")
    writer.add_block_count(2)
    writer.add_context_length(64)
    writer.add_embedding_length(32)
    writer.add_feed_forward_length(48)
    writer.add_head_count(4)
    writer.add_head_count_kv(2)
    writer.add_rope_freq_base(100000.0)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_vocab_size(27)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre(pre)
    writer.add_token_list([*CONTROL, *LETTERS])
    writer.add_token_types([3] * len(CONTROL) + [1] * len(LETTERS))
    writer.add_token_merges(["a b", "Ġ a"])
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.add_unk_token_id(0)
    writer.add_pad_token_id(2)
    writer.add_chat_template(TEMPLATE)
    state = {name: tensor.numpy() for name, tensor in model.state_dict().items()}
    writer.add_tensor("token_embd.weight", state["model.embed_tokens.weight"])
    writer.add_tensor("output_norm.weight", state["model.norm.weight"])
    for layer in range(2):
        for long, short in NAMES.items():
            weight = state[f"model.layers.{layer}.{long}.weight"]
            if short in ("attn_q", "attn_k"):
                weight = interleaved(weight, 4 if short == "attn_q" else 2)
            writer.add_tensor(f"blk.{layer}.{short}.weight", np.ascontiguousarray(weight))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def test_the_library_loads_the_model_and_words_that_went_in(model, tmp_path):
    (out := tmp_path / "out").mkdir()
    convert(written(tmp_path / "small.gguf", model), out)
    loaded = AutoModelForCausalLM.from_pretrained(out).eval()
    words = AutoTokenizer.from_pretrained(out)
    row = words("abab c ab42", return_tensors="pt")
    assert words.convert_ids_to_tokens(row["input_ids"][0]) == ["ab", "ab", "Ġ", "c", "Ġ", "ab", "4", "2"]
    assert list(row) == ["input_ids", "attention_mask"] and words.eos_token == "<|im_end|>"
    with torch.inference_mode():
        torch.testing.assert_close(loaded(**row).logits, model(row["input_ids"]).logits)
    chat = words.apply_chat_template([{"role": "a", "content": "b"}])
    assert chat[0] == 1 and chat.count(1) == 1, "one begin token: the template's own"


def test_a_file_of_other_pieces_is_refused(model, tmp_path):
    with pytest.raises(InputError, match=r"tokenizer.ggml.pre: not a GGUF file of SmolLM2 \(got gpt-2\); smollm"):
        convert(written(tmp_path / "small.gguf", model, "gpt-2"), tmp_path)
