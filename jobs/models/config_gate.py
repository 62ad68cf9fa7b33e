"""What a model directory may say of itself: its JSON is checked here, as plain data, before any library sees it.

transformers builds the class that config.json names, takes `trust_remote_code` from it, fetches the attention kernel
that it names, and runs `custom_generate/generate.py` of a local directory without being trusted with it. So a file
must be one of a known text model, and may name neither code nor other models.
"""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from jobs.errors import Fault, raise_all
from jobs.files.digest import lfs_pointer

CONFIG = "config.json"
TOKENIZER_CONFIG = "tokenizer_config.json"
TOKENIZER = "tokenizer.json"
CHAT_TEMPLATE = "chat_template.jinja"
_TEMPLATES = "additional_chat_templates"
GENERATION_CODE = "custom_generate"
# Text models that transformers builds from its own code, without parts of other types and without fetched kernels.
MODEL_TYPES = frozenset({
    "albert", "apertus", "arcee", "bamba", "bart", "bert", "bert-generation", "big_bird", "bigbird_pegasus", "biogpt",
    "blenderbot", "blenderbot-small", "bloom", "camembert", "code_llama", "codegen", "cohere", "cohere2", "convbert",
    "ctrl", "data2vec-text", "dbrx", "deberta", "deberta-v2", "deepseek_v2", "deepseek_v3", "diffllama", "distilbert",
    "doge", "dots1", "electra", "ernie", "ernie4_5", "ernie4_5_moe", "exaone4", "falcon", "falcon_h1", "flaubert",
    "flex_olmo", "fnet", "funnel", "gemma", "gemma2", "gemma3_text", "glm", "glm4", "glm4_moe", "gpt-sw3", "gpt2",
    "gpt_bigcode", "gpt_neo", "gpt_neox", "gpt_neox_japanese", "gpt_oss", "gptj", "granite", "granitemoe",
    "granitemoehybrid", "granitemoeshared", "helium", "hunyuan_v1_dense", "hunyuan_v1_moe", "ibert", "jamba", "jetmoe",
    "layoutlm", "led", "lfm2", "llama", "llama4_text", "longcat_flash", "longformer", "longt5", "luke", "m2m_100",
    "mamba2", "marian", "mbart", "megatron-bert", "minimax", "ministral", "mistral", "mixtral", "mobilebert",
    "modernbert", "modernbert-decoder", "mpnet", "mpt", "mt5", "mvp", "nemotron", "nllb-moe", "nystromformer", "olmo",
    "olmo2", "olmo3", "olmoe", "openai-gpt", "opt", "pegasus", "pegasus_x", "persimmon", "phi", "phi3", "phimoe",
    "plbart", "prophetnet", "qwen2", "qwen2_moe", "qwen3", "qwen3_moe", "qwen3_next", "recurrent_gemma", "reformer",
    "rembert", "roberta", "roberta-prelayernorm", "roc_bert", "roformer", "rwkv", "seed_oss", "smollm3", "squeezebert",
    "stablelm", "starcoder2", "switch_transformers", "t5", "umt5", "vaultgemma", "xglm", "xlm", "xlm-roberta",
    "xlm-roberta-xl", "xlnet", "xmod", "zamba", "zamba2",
})  # fmt: skip

_NO_CODE = "no code of a model is run: save the model with the library's own class, without this key"
_NO_OTHER = "one directory is one model: remove the key"
_CODE = {"auto_map": _NO_CODE, "custom_pipelines": _NO_CODE, "trust_remote_code": _NO_CODE}
_REFUSED: Mapping[str, str] = {
    **_CODE,
    "quantization_config": "backbones are not quantized: give the weights in float32, float16 or bfloat16",
    "configuration_files": _NO_OTHER,
    "transformers_weights": _NO_OTHER,
}
_OTHER_TOKENIZERS = ("fast_tokenizer_files", "gguf_file", "init_inputs", "tokenizer_object", "__slow_tokenizer")
_ATTENTION = "attn_implementation"
_PRECISIONS = (None, "float64", "float32", "float16", "bfloat16")
LAYERS = (
    *("num_hidden_layers", "num_layers", "n_layer", "n_layers"),
    *("num_encoder_layers", "num_decoder_layers", "encoder_layers", "decoder_layers"),
)
_EXPERTS = ("num_experts", "num_local_experts", "n_routed_experts")
WIDTHS = ("vocab_size", "hidden_size", "d_model", "n_embd", "intermediate_size", "d_ff", "num_labels")
_POSITIONS = ("max_position_embeddings", "n_positions")
_HEADS = ("num_attention_heads", "num_key_value_heads", "num_heads", "n_head", "n_heads")
_LARGEST = {
    **dict.fromkeys(LAYERS, 10_000),
    **dict.fromkeys(_EXPERTS, 100_000),
    **dict.fromkeys(WIDTHS + _POSITIONS + _HEADS, 10_000_000),
}
_MOST_BYTES = 64 * 2**20
_DEEPEST = 40
_MOST_FAULTS = 100
_ANEW = "restore the file, or write it anew with save_pretrained"


def checked_model_files(folder: Path, named: str) -> dict[str, Any]:
    """The checked document of `folder`'s config.json; empty where there is none, as beside a lone tokenizer.

    `named` is what faults call the directory. Raises InputError with all faults of config.json and of
    tokenizer_config.json at once, and for a directory that brings code for generation.
    """
    where = f"backbone {named}"
    raise_all(_pointers(folder, where))
    faults: list[Fault] = []
    config = json_object(folder / CONFIG, where, faults)
    if config is not None:
        faults += _config_faults(config, f"{where}: {CONFIG}")
    tokenizer = json_object(folder / TOKENIZER_CONFIG, where, faults)
    if tokenizer is not None:
        faults += _tokenizer_faults(tokenizer, f"{where}: {TOKENIZER_CONFIG}")
    if (folder / _TEMPLATES).is_symlink():
        todo = "copy the folder into place: what a link to a folder leads to is not pinned"
        faults.append(Fault("a link in place of a folder", where, _TEMPLATES, todo))
    if (folder / GENERATION_CODE).exists():
        todo = "no code of a model is run: remove that folder"
        faults.append(Fault("the directory brings code of its own", where, GENERATION_CODE, todo))
    raise_all(faults[:_MOST_FAULTS])
    return config or {}


def has_chat_template(folder: Path) -> bool:
    """Whether the tokenizer in `folder`, whose files have been checked, brings one."""
    document = json_object(folder / TOKENIZER_CONFIG, "", []) or {}
    return bool(document.get("chat_template")) or (folder / CHAT_TEMPLATE).is_file()


def pinned_tokenizer_files(folder: Path) -> dict[str, Any]:
    """What `from_pretrained` has to be told, so that a tokenizer is built from `folder`'s own files.

    tokenizer_config.json, which has been checked, may name others by their paths, and the library prefers those. With a
    tokenizer.json that is what is read.
    """
    document = json_object(folder / TOKENIZER_CONFIG, "", []) or {}
    named = {key: folder / Path(str(value)).name for key, value in document.items() if value and _names_a_file(key)}
    pinned = {key: str(file) for key, file in named.items() if file.is_file()}
    whole = {"tokenizer_file": str(folder / TOKENIZER), "from_slow": False} if (folder / TOKENIZER).is_file() else {}
    return {**dict.fromkeys(named), **pinned, **whole}


def json_object(file: Path, where: str, faults: list[Fault]) -> dict[str, Any] | None:
    """The JSON object in `file`; None where there is no file, and with one more of `faults` where it holds none."""
    if not file.exists():
        return None
    got = ""
    try:
        if file.stat().st_size <= _MOST_BYTES:
            document = json.loads(file.read_bytes().decode("utf-8"))
            what = _shape_fault(document)
            if not what:
                return dict(document)
        else:
            what, got = "too large for a configuration", f"{file.stat().st_size:,} bytes"
    except OSError as error:
        what, got = "cannot be read", error.strerror or ""
    except UnicodeDecodeError as error:
        what, got = "not a text in UTF-8", f"byte {error.start + 1}"
    except json.JSONDecodeError as error:
        what, got = "not valid JSON", f"line {error.lineno}, column {error.colno}: {error.msg}"
    except ValueError:
        what, got = "not valid JSON", "a number of thousands of digits"
    except RecursionError:
        what = "nested too deeply"
    faults.append(Fault(what, f"{where}: {file.name}", got, _ANEW))
    return None


def _pointers(folder: Path, where: str) -> Iterator[Fault]:
    """A fault for each file that is not there but for its git-lfs pointer."""
    for file in sorted(folder.iterdir()) if folder.is_dir() else ():
        if file.is_file() and (fault := lfs_pointer(file, f"{where}: {file.name}")):
            yield fault


def _tokenizer_faults(document: Mapping[str, Any], where: str) -> Iterator[Fault]:
    """Keys by which a tokenizer would run code, or be built from something else than the directory's files."""
    yield from _refused(document, where, _CODE)
    for key in _OTHER_TOKENIZERS:
        if document.get(key) not in (None, [], [TOKENIZER]):
            yield Fault("this key is refused", f"{where}: {key}", _shown(document[key]), _NO_OTHER)


def _names_a_file(key: str) -> bool:
    return key.endswith(("_file", "_spm"))


def _shape_fault(document: object) -> str:
    """What is wrong with a file's JSON before its keys are looked at; empty when nothing is."""
    if not isinstance(document, dict):
        return "must be one JSON object, { ... }"
    return "nested too deeply" if any(len(path) > _DEEPEST for path, _ in _entries(document)) else ""


def _config_faults(config: Mapping[str, Any], where: str) -> Iterator[Fault]:
    kind = config.get("model_type")
    if kind is None:
        yield Fault("no model_type", where, todo=_ANEW)
    elif not _known(kind):
        todo = "use a text model that transformers builds itself, such as xlm-roberta, llama, qwen2, gemma2, gpt2, t5"
        yield Fault("models of this type are refused", f"{where}: model_type", _shown(kind), todo)
    yield from _refused(config, where, _REFUSED)
    for path, value in _entries(config):
        place = f"{where}: {_dotted(path)}"
        yield from _value_faults(path[-1], value, place)
        yield from _whole_faults(path[-1], value, place) if len(path) == 1 else _part_faults(path[-1], value, place)


def _refused(document: Mapping[str, Any], where: str, keys: Mapping[str, str]) -> Iterator[Fault]:
    """A fault for each of `keys` at any depth of `document`, whatever its value."""
    for path, value in _entries(document):
        if path[-1] in keys:
            yield Fault("this key is refused", f"{where}: {_dotted(path)}", _shown(value), keys[path[-1]])


def _value_faults(key: str, value: Any, place: str) -> Iterator[Fault]:
    """Faults of an entry of config.json at any depth: attention that would be fetched, sizes beyond all reason."""
    if _ATTENTION in key and not (value is None or isinstance(value, bool) or value in ("eager", "sdpa")):
        todo = "remove the key: attention is the library's own"
        yield Fault("attention from elsewhere is refused", place, _shown(value), todo)
    largest = _LARGEST.get(key)
    if largest is None or value is None or isinstance(value, list):
        return
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= largest:
        yield Fault(f"must be a whole number from 0 to {largest:,}", place, _shown(value))


def _whole_faults(key: str, value: Any, place: str) -> Iterator[Fault]:
    """Faults of an entry at the top of config.json, where it speaks of the whole model."""
    if key in ("dtype", "torch_dtype") and value not in _PRECISIONS:
        yield Fault("no such precision", place, _shown(value), "use float32, float16 or bfloat16")
    names = isinstance(value, list) and all(isinstance(one, str) for one in value)
    if key == "architectures" and value is not None and not names:
        yield Fault("must be a list of names", place, _shown(value))


def _part_faults(key: str, value: Any, place: str) -> Iterator[Fault]:
    """Faults of an entry inside another one: parts of other types, and of other models."""
    if key == "model_type" and value and not _known(value):
        yield Fault("a part of this type is refused", place, _shown(value), "use a model of one part")
    if key in ("_name_or_path", "name_or_path") and value:
        yield Fault("a part from another model is refused", place, _shown(value), _NO_OTHER)


def _entries(document: Mapping[str, Any]) -> Iterator[tuple[tuple[str, ...], Any]]:
    """(path of keys, value) of every entry of objects and lists, at any depth."""
    waiting: deque[tuple[tuple[str, ...], Any]] = deque([((), document)])
    while waiting:
        path, value = waiting.popleft()
        if path:
            yield path, value
        items = value.items() if isinstance(value, Mapping) else enumerate(value) if isinstance(value, list) else ()
        waiting.extend(((*path, str(name)), part) for name, part in items)


def _known(kind: object) -> bool:
    return isinstance(kind, str) and kind in MODEL_TYPES


def _dotted(path: tuple[str, ...]) -> str:
    """A path of keys as it may stand in a message: one line of plain characters."""
    return json.dumps(".".join(path))[1:-1][:200]


def _shown(value: Any) -> str:
    return json.dumps(value)[:80]
