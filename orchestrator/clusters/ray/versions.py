"""What a driver and its cluster must have alike: told by one, checked by the other before anything runs."""

from __future__ import annotations

import importlib.metadata
import json
import platform

from jobs.errors import Fault, raise_all

STAMP = "ADAPTERFLEET_SUBMITTED_WITH"  # environment variable that carries the submitter's versions
COMPARED = ("ray", "torch", "transformers", "adapters", "peft", "datasets")


def stamp() -> str:
    """This process's Python and library versions, as JSON."""
    python = ".".join(platform.python_version_tuple()[:2])
    return json.dumps({"python": python, **{name: _version(name) for name in COMPARED}}, sort_keys=True)


def check_stamp(theirs: str) -> None:
    """Raises InputError that names both versions of everything that differs from `theirs`; the text of `stamp`."""
    there, here = json.loads(theirs), json.loads(stamp())
    todo = "install the same on both, or submit from the image that the cluster runs"
    raise_all(
        Fault("driver and cluster differ", name, f"{there[name]} where it was submitted, {here.get(name)} here", todo)
        for name in sorted(there)
        if there[name] != here.get(name)
    )


def _version(name: str) -> str:
    """Without the part after +, which tells CPU and CUDA builds apart."""
    return importlib.metadata.version(name).partition("+")[0]
