"""Files of a pretrained model at a pinned revision: where they are, their configuration, their tokenizer."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from transformers import AutoConfig, AutoTokenizer

from jobs.digest import DIGEST_PREFIX, directory_digest
from jobs.errors import Fault, InputError
from jobs.spec import BackboneRef


def source_arguments(ref: BackboneRef, source: str) -> dict[str, Any]:
    """Keyword arguments of `from_pretrained` that pin the revision; local directories are verified here."""
    common: dict[str, Any] = {"trust_remote_code": False}
    if not ref.revision.startswith(DIGEST_PREFIX):
        if Path(source).is_dir():
            return common
        if source.startswith((".", "/", "~")):
            raise InputError(Fault("no such model directory", f"backbone {ref.name}", source))
        return {**common, "revision": ref.revision}
    if not (Path(source) / "config.json").is_file():
        todo = "give a directory written by save_pretrained"
        raise InputError(Fault("not a model directory: no config.json", f"backbone {ref.name}", source, todo))
    found = directory_digest(source)
    if found != ref.revision:
        todo = f"the files changed: restore them, or pin {found}"
        raise InputError(
            Fault("the files are not the pinned revision", f"backbone {ref.name}: {source}", ref.revision, todo)
        )
    return common


def read_config(source: str, arguments: dict[str, Any]) -> Any:
    """The model's configuration. Raises InputError when there is none."""
    try:
        return AutoConfig.from_pretrained(source, **arguments)
    except (OSError, ValueError) as error:
        todo = "give a directory written by save_pretrained, or a name on the hub with a commit as revision"
        raise InputError(Fault("no pretrained model there", f"backbone {source}", first_line(error), todo)) from error


def read_tokenizer(source: str, arguments: dict[str, Any], vocabulary_size: int) -> Any:
    """The model's fast tokenizer. Raises InputError when there is none, or one with more tokens than the model."""
    try:
        tokenizer = AutoTokenizer.from_pretrained(source, use_fast=True, **arguments)
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        todo = "save the tokenizer beside the model (tokenizer.save_pretrained)"
        raise InputError(Fault("no tokenizer", f"backbone {source}", first_line(error), todo)) from error
    if not tokenizer.is_fast or len(tokenizer) == 0:
        raise InputError(Fault("no fast tokenizer", f"backbone {source}", todo="save tokenizer.json beside the model"))
    if len(tokenizer) > vocabulary_size:
        got = f"{len(tokenizer)} tokens, {vocabulary_size} embeddings"
        raise InputError(Fault("the tokenizer does not belong to the model", f"backbone {source}", got))
    return tokenizer


def no_weights(source: str, error: Exception) -> InputError:
    """The fault of a model without readable weights. Pickled ones (.bin) are not read: they may hold code."""
    todo = (
        "only model.safetensors is read: pin a commit that has it (the hub's conversion of .bin files stands in a "
        "pull request, refs/pr/N), or convert with save_pretrained and give the directory as backbone.path"
    )
    return InputError(Fault("no readable weights", f"backbone {source}", first_line(error), todo))


def first_line(error: Exception) -> str:
    """The first line of a library's message, short enough for ours."""
    return (str(error).splitlines() or [type(error).__name__])[0][:200]
