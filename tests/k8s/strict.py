"""Strict checks of form: Ray's kinds by the JSON Schemas of their CRDs, the others by the official client's models."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest

SCHEMAS = {"RayJob": "rayjobs.v1.schema.json", "RayCluster": "rayclusters.v1.schema.json"}
MODELS = {
    "Namespace": "V1Namespace",
    "ServiceAccount": "V1ServiceAccount",
    "PersistentVolumeClaim": "V1PersistentVolumeClaim",
    "Deployment": "V1Deployment",
    "StatefulSet": "V1StatefulSet",
    "Service": "V1Service",
    "NetworkPolicy": "V1NetworkPolicy",
    "ConfigMap": "V1ConfigMap",
    "Role": "V1Role",
}
PLAIN = {"str": str, "int": int, "bool": bool, "float": (int, float), "datetime": str}


def form_faults(document: dict[str, Any]) -> list[str]:
    kind = document["kind"]
    if kind in SCHEMAS:
        return [
            f"{'/'.join(map(str, e.absolute_path))}: {e.message[:200]}" for e in _validator(kind).iter_errors(document)
        ]
    return list(model_faults(document, MODELS[kind], kind))


@cache
def _validator(kind: str) -> Any:
    jsonschema = pytest.importorskip("jsonschema", reason="jsonschema is not installed")
    data = os.environ.get("ADAPTERFLEET_TEST_DATA")
    shared = Path(data).parent if data else Path(__file__).parents[2].parent / "shared"
    file = shared / "k8s" / SCHEMAS[kind]
    if not file.is_file():
        pytest.skip("the folder of KubeRay's schemas is absent (k8s beside ADAPTERFLEET_TEST_DATA)")
    return jsonschema.Draft7Validator(json.loads(file.read_text(encoding="utf-8")))


def model_faults(value: Any, type_: str, where: str) -> Iterator[str]:
    """Unknown fields and wrong types, by the types that the official client was generated with."""
    if type_.startswith("list["):
        if not isinstance(value, list):
            yield f"{where}: not a list"
            return
        for number, item in enumerate(value):
            yield from model_faults(item, type_[5:-1], f"{where}[{number}]")
    elif type_.startswith(("dict[", "dict(")):
        yield from _mapping(value, type_[5:-1].split(", ", 1)[1], where)
    elif type_ in PLAIN:
        if not isinstance(value, PLAIN[type_]) or (type_ == "int" and isinstance(value, bool)):
            yield f"{where}: {value!r} is not of type {type_}"
    elif type_ != "object":
        yield from _fields(value, type_, where)


def _mapping(value: Any, item_type: str, where: str) -> Iterator[str]:
    if not isinstance(value, dict):
        yield f"{where}: not a mapping"
        return
    for key, item in value.items():
        yield from model_faults(item, item_type, f"{where}.{key}")


def _fields(value: Any, type_: str, where: str) -> Iterator[str]:
    client = pytest.importorskip("kubernetes.client", reason="the extra k8s is not installed")
    model = getattr(client, type_)
    if not isinstance(value, dict):
        yield f"{where}: not a mapping"
        return
    names = {public: private for private, public in model.attribute_map.items()}
    for key, item in value.items():
        if key not in names:
            yield f"{where}: unknown field {key}"
        else:
            yield from model_faults(item, model.openapi_types[names[key]], f"{where}.{key}")
