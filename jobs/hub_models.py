"""Files of a model on the hub: one commit's, in the hub library's cache, and never another's."""

from __future__ import annotations

import time
from pathlib import Path

from huggingface_hub import snapshot_download
from requests.exceptions import HTTPError, RequestException

from jobs.errors import Fault, InputError

_SETTINGS = ("*.json", "*.txt", "*.model", "*.jinja")
_WEIGHTS = ("model.safetensors", "model-*-of-*.safetensors")
# Copies in other formats lie in folders. An adapter beside a model would be put into it, and its own base model loaded.
_LEFT_OUT = ("*/*", "adapter_*")
_ATTEMPTS = 5  # of a download that breaks off; each goes on where the last one stopped


def hub_folder(name: str, commit: str, weights: bool) -> Path:
    """The directory with configuration, tokenizer and, with `weights`, safetensors of the model `name` at `commit`.

    What is missing is fetched; an interrupted download goes on. Given the files' directory, no library looks for more
    of them on the hub, where some would ask for the newest commit instead. Without a network the cache is what there
    is. Raises InputError for an unknown or closed model, an unknown commit, and a hub that does not answer.
    """
    patterns = [*_SETTINGS, *(_WEIGHTS if weights else ())]
    for attempt in range(1, _ATTEMPTS + 1):
        try:
            return Path(
                snapshot_download(name, revision=commit, allow_patterns=patterns, ignore_patterns=list(_LEFT_OUT))
            )
        except (OSError, ValueError, RuntimeError) as error:
            if attempt == _ATTEMPTS or not _broke_off(error):
                raise _refused(name, commit, error) from error
        time.sleep(2.0 ** (attempt - 1))
    raise AssertionError("the last attempt returns or raises")


def _broke_off(error: Exception) -> bool:
    """Whether the connection ended on the way; the hub's transfer library raises RuntimeError then."""
    return isinstance(error, RuntimeError) or (
        isinstance(error, RequestException) and not isinstance(error, (HTTPError, ValueError))
    )


def _refused(name: str, commit: str, error: Exception) -> InputError:
    got = next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)[:200]
    todo = "check name and commit, the network, and HF_TOKEN for a model that asks for consent"
    return InputError(Fault("the model cannot be fetched", f"backbone {name} at {commit}", got, todo))
