"""Read a recipe file: all its faults at once, each with file, line and key."""

from __future__ import annotations

import difflib
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from jobs.errors import Fault, InputError, raise_all
from jobs.merging.recipe import METHODS, RECIPE, Recipe

MAX_BYTES = 2**20
MAX_DEPTH = 10
_OPENING = (
    yaml.BlockMappingStartToken,
    yaml.BlockSequenceStartToken,
    yaml.FlowMappingStartToken,
    yaml.FlowSequenceStartToken,
)
_CLOSING = (yaml.BlockEndToken, yaml.FlowMappingEndToken, yaml.FlowSequenceEndToken)
Key = tuple[str | int, ...]


def load_recipe(path: Path) -> Recipe:
    """The recipe in `path`. Raises InputError with every fault of the file."""
    return parse_recipe(_read(path), str(path))


def parse_recipe(text: str, where: str) -> Recipe:
    """The recipe in `text`; `where` stands before the line numbers of faults."""
    lines: dict[Key, int] = {}
    try:
        _check_tokens(text, where)
        node = yaml.compose(text, Loader=yaml.SafeLoader)
        if node is not None:
            raise_all(_note_lines(node, (), lines, where))
        document = yaml.safe_load(text)
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        mark = getattr(error, "problem_mark", None)
        place = f"{where}:{mark.line + 1}" if mark else where
        got = str(getattr(error, "problem", None) or error).splitlines()[0]
        raise InputError(Fault("not valid YAML", place, got)) from error
    if not isinstance(document, dict):
        todo = f"methods: {', '.join(METHODS)}"
        raise InputError(Fault("a recipe is a mapping of keys", where, type(document).__name__, todo))
    try:
        return RECIPE.validate_python(document)
    except ValidationError as error:
        faults: dict[str, Fault] = {}
        for entry in error.errors():
            fault = _fault(entry, document, lines, where)
            faults.setdefault(fault.where, fault)
        raise InputError(*faults.values()) from error


def _check_tokens(text: str, where: str) -> None:
    """Refuse aliases, which can grow without bound, and nesting that no recipe has, before anything is built."""
    depth = 0
    for token in yaml.scan(text, Loader=yaml.SafeLoader):
        place = f"{where}:{token.start_mark.line + 1}"
        if isinstance(token, yaml.AliasToken):
            raise InputError(Fault("a recipe has no aliases", place))
        if isinstance(token, _OPENING):
            depth += 1
        elif isinstance(token, _CLOSING):
            depth -= 1
        if depth > MAX_DEPTH:
            raise InputError(Fault("nested too deeply for a recipe", place))


def _read(path: Path) -> str:
    try:
        if path.stat().st_size > MAX_BYTES:
            raise InputError(Fault("too large for a recipe", str(path), f"{path.stat().st_size} bytes"))
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(Fault("cannot read the recipe", str(path), str(error))) from error


def _note_lines(node: yaml.Node, key: Key, lines: dict[Key, int], where: str) -> list[Fault]:
    """Note the line of every key; the faults are keys given twice, of which YAML readers silently drop one."""
    lines.setdefault(key, node.start_mark.line + 1)
    faults: list[Fault] = []
    if isinstance(node, yaml.MappingNode):
        for key_node, value in node.value:
            child = (*key, str(key_node.value))
            line = key_node.start_mark.line + 1
            if child in lines:
                faults.append(Fault("this key is given twice", f"{where}:{line}: {_dotted(child)}"))
                continue
            lines[child] = line
            faults += _note_lines(value, child, lines, where)
    elif isinstance(node, yaml.SequenceNode):
        for index, value in enumerate(node.value):
            faults += _note_lines(value, (*key, index), lines, where)
    return faults


def _fault(entry: Any, document: dict[str, Any], lines: dict[Key, int], where: str) -> Fault:
    """One pydantic error as a fault."""
    location = _location(entry["loc"], document, entry["type"])
    place = f"{where}:{_line(location, lines)}"
    if location:
        place += f": {_dotted(location)}"
    if entry["type"] == "extra_forbidden":
        return Fault("unknown key", place, todo=_suggestion(str(location[-1]), document))
    if entry["type"] in ("union_tag_invalid", "union_tag_not_found"):
        return _method_fault(document, lines, where)
    if entry["type"] == "missing":
        return Fault("this key is missing", place)
    return Fault(entry["msg"], place, repr(entry["input"])[:80])


def _location(parts: Key, document: Any, kind: str) -> Key:
    """The path of keys in the file: pydantic puts the names of union members between them."""
    location: list[str | int] = []
    node = document
    for position, part in enumerate(parts):
        if (isinstance(node, dict) and part in node) or (isinstance(node, list) and isinstance(part, int)):
            location.append(part)
            node = node[part]  # type: ignore[index]
        elif kind == "missing" and position == len(parts) - 1:
            location.append(part)
    return tuple(location)


def _method_fault(document: dict[str, Any], lines: dict[Key, int], where: str) -> Fault:
    place = f"{where}:{lines.get(('method',), 1)}: method"
    if "method" not in document:
        return Fault("this key is missing", place, todo=f"one of {', '.join(METHODS)}")
    near = difflib.get_close_matches(str(document["method"]), METHODS, 1)
    todo = f"did you mean {near[0]}?" if near else f"one of {', '.join(METHODS)}"
    return Fault("no such method", place, repr(document["method"])[:80], todo)


def _line(location: Key, lines: dict[Key, int]) -> int:
    while location and location not in lines:
        location = location[:-1]
    return lines.get(location, 1)


def _dotted(location: Key) -> str:
    return ".".join(str(part) for part in location)


def _suggestion(key: str, document: dict[str, Any]) -> str:
    known = {name for model in RECIPE.json_schema()["$defs"].values() for name in model.get("properties", {})}
    near = difflib.get_close_matches(key, sorted(known - {key}), 1)
    return f"did you mean {near[0]}?" if near else f"method {document.get('method')} does not have it"
