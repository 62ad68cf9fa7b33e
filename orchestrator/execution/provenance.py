"""Where and with what an execution runs, for the records of its steps."""

from __future__ import annotations

import importlib.metadata
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

from jobs.runtime.redaction import redacted_words

VERSIONED = (
    "torch",
    "transformers",
    "tokenizers",
    "adapters",
    "peft",
    "ray",
    "datasets",
    "mlflow",
    "lang2vec",
    "babel",
    "numpy",
)


def execution_facts() -> dict[str, Any]:
    """Provenance that all steps of one execution share."""
    return {
        "host": socket.gethostname(),
        "argv": redacted_words(sys.argv[1:]),
        "versions": {name: importlib.metadata.version(name) for name in VERSIONED},
        "git_commit": _git_commit(),
    }


def _git_commit() -> str:
    """Commit of the code when it runs from a checkout, else empty."""
    here = Path(__file__).resolve().parent
    try:
        answer = subprocess.run(
            ["git", "-C", str(here), "rev-parse", "HEAD"], capture_output=True, text=True, timeout=5, check=False
        )
    except (FileNotFoundError, subprocess.TimeoutExpired):
        return ""
    return answer.stdout.strip() if answer.returncode == 0 else ""
