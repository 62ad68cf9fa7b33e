"""Where a backbone's files are on this machine, and the licence that its card names; nothing is fetched."""

from __future__ import annotations

import re
from pathlib import Path

from jobs.backbones import embedded_backbone
from jobs.backbones.installed import is_present, packaged_of, place_of
from jobs.files.digest import DIGEST_PREFIX
from jobs.spec import BackboneRef, DataRef

_FRONT = re.compile(r"\A\s*---\n(.*?)\n---", re.DOTALL)
_LICENCE = re.compile(r"^(license|license_name): *(?:\[|\n *- *)?[\"']?([A-Za-z0-9][\w.+-]*)", re.MULTILINE)


def folder_at_hand(ref: BackboneRef) -> Path | None:
    """The directory of its files; None where they are not here."""
    if packaged := packaged_of(ref):
        return place_of(packaged) if is_present(packaged) else None
    if ref.path and Path(ref.path).is_dir():
        return Path(ref.path)
    if ref.revision.startswith(DIGEST_PREFIX):
        return embedded_backbone() if ref.name == embedded_backbone().name else None
    return _cached(ref.path or ref.name, "config.json", ref.revision, "model")


def backbone_licence(ref: BackboneRef, folder: Path | None) -> str:
    """As hubs write it, such as "apache-2.0"; "" where it is not known. `folder`: of its files, with their card."""
    if packaged := packaged_of(ref):
        return packaged.licence.lower()
    return card_licence(folder) if folder else ""


def data_licence(ref: DataRef) -> str:
    """Of a data set: the CLDR's, or what the card of a hub's data set says, where that is here; "" where not known."""
    if ref.source == "cldr":
        return "unicode-3.0"
    folder = _cached(ref.dataset, "README.md", ref.revision, "dataset") if ref.source == "hub" else None
    return card_licence(folder) if folder else ""


def card_licence(folder: Path) -> str:
    """What the card in a directory names as licence; "" without card, or without licence in its metadata."""
    card = folder / "README.md"
    if not card.is_file():
        return ""
    front = _FRONT.match(card.read_text(encoding="utf-8", errors="replace"))
    named: dict[str, str] = dict(reversed(_LICENCE.findall(front[1]))) if front else {}
    licence = named.get("license", "").lower()
    return named.get("license_name", licence).lower() if licence == "other" else licence


def _cached(name: str, file: str, commit: str, kind: str) -> Path | None:
    """The snapshot in the cache of `huggingface_hub` that has this file."""
    from huggingface_hub import try_to_load_from_cache
    from huggingface_hub.errors import HFValidationError

    try:
        found = try_to_load_from_cache(name, file, revision=commit, repo_type=kind)
    except HFValidationError:  # a path on another machine is no name on a hub
        return None
    return Path(found).parent if isinstance(found, str) else None
