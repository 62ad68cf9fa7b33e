"""YAML that remembers its lines, and pydantic's faults put back on them, all of a file at once."""

from __future__ import annotations

import difflib
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import TypeAdapter, ValidationError

from jobs.errors import Fault, InputError, raise_all

Location = tuple[str | int, ...]
Model = TypeVar("Model")
# What no campaign needs, and what files that are made to blow up exceed. A ConfigMap holds MOST_BYTES too.
MOST_BYTES, MOST_NODES, DEEPEST = 2**19, 50_000, 40
LONGEST_NUMBER, LONGEST_TEXT, MOST_FAULTS = 100, 200_000, 50
VARIABLE = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)\}")


class PlainLoader(yaml.SafeLoader):
    """SafeLoader whose only booleans are true and false, so that `no` is Norwegian (as in YAML 1.2)."""

    yaml_implicit_resolvers = {  # noqa: RUF012 - the base class's own name
        first: [(tag, pattern) for tag, pattern in resolvers if tag != "tag:yaml.org,2002:bool"]
        for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }

    def __init__(self, stream: str) -> None:
        super().__init__(stream)
        self._nodes = self._depth = 0

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        """Stop at once in a file that no campaign is: the parser would go on for minutes, or out of its stack."""
        self._nodes, self._depth = self._nodes + 1, self._depth + 1
        if self._nodes > 2 * MOST_NODES or self._depth > DEEPEST + 1:
            mark = self.peek_event().start_mark  # type: ignore[no-untyped-call]
            raise yaml.MarkedYAMLError(problem="too large or too deep", problem_mark=mark)
        try:
            node: yaml.Node | None = super().compose_node(parent, index)
        finally:
            self._depth -= 1
        return node

    def construct_yaml_int(self, node: yaml.ScalarNode) -> int:
        """As the base class, which would take minutes over a number of a million digits."""
        if len(node.value) > LONGEST_NUMBER:
            raise yaml.MarkedYAMLError(problem="a number of so many digits", problem_mark=node.start_mark)
        return int(super().construct_yaml_int(node))


PlainLoader.add_constructor("tag:yaml.org,2002:int", PlainLoader.construct_yaml_int)
PlainLoader.add_implicit_resolver("tag:yaml.org,2002:bool", re.compile(r"(?:true|false)$"), list("tf"))

# What stands for a type of pydantic's in a fault.
_WANTED = {
    "string_type": "a text",
    "int_type int_parsing int_from_float int_parsing_size": "a whole number",
    "float_type float_parsing": "a number",
    "finite_number": "a finite number",
    "bool_type bool_parsing": "true or false",
    "tuple_type list_type set_type": "a list",
    "dict_type model_type model_attributes_type mapping_type dataclass_type": "a mapping of keys",
    "none_required": "nothing",
}


@dataclass(frozen=True, slots=True)
class Document:
    """A parsed YAML file: its text, plain values, and the line (from 1) of every key and item."""

    file: Path
    text: str
    content: Any
    lines: Mapping[Location, int]

    def where(self, location: Location) -> str:
        """`file:line: key.path` of the nearest node that stands in the file."""
        known = location
        while known and known not in self.lines:
            known = known[:-1]
        place = f"{_shown(self.file)}:{self.lines.get(known, 1)}"
        return f"{place}: {dotted(location)}" if location else place


def read_yaml(file: Path) -> Document:
    """As `parse_yaml`. Raises InputError for a missing file too."""
    try:
        if file.stat().st_size > MOST_BYTES:
            raise InputError(Fault("the file is too large", _shown(file), f"{file.stat().st_size} bytes"))
        return parse_yaml(file.read_bytes().decode("utf-8"), file)
    except (OSError, UnicodeDecodeError) as fault:
        raise InputError(Fault("the file cannot be read", _shown(file), str(fault))) from fault


def parse_yaml(text: str, file: Path) -> Document:
    """Safe YAML only; faults name `file`. Raises InputError for broken syntax, a tag or a key given twice."""
    try:
        node = yaml.compose(text, Loader=PlainLoader)
        lines: dict[Location, int] = {}
        raise_all(_index(node, (), lines, file)[:MOST_FAULTS] if node is not None else [])
        return Document(file, text, yaml.load(text, Loader=PlainLoader), lines)  # noqa: S506 - a SafeLoader
    except yaml.MarkedYAMLError as fault:
        line = fault.problem_mark.line + 1 if fault.problem_mark else 1
        raise InputError(Fault(f"not valid YAML: {fault.problem}", f"{_shown(file)}:{line}")) from fault
    except (yaml.YAMLError, ValueError) as fault:  # a control character; a date or number that cannot be
        raise InputError(Fault(f"not valid YAML: {' '.join(str(fault).split())}", _shown(file))) from fault


def substitute(document: Document, variables: Mapping[str, str]) -> Document:
    """Replace `${name}` in every text value. Raises InputError for names that no variable has."""
    faults: list[Fault] = []

    def filled(value: Any, location: Location) -> Any:
        if isinstance(value, dict):
            return {k: filled(v, (*location, k)) for k, v in value.items()}
        if isinstance(value, list):
            return [filled(v, (*location, i)) for i, v in enumerate(value)]
        if not isinstance(value, str):
            return value
        for name in sorted(set(VARIABLE.findall(value)) - set(variables)):
            known = ", ".join(sorted(variables)) or "none"
            faults.append(
                Fault("unknown variable", document.where(location), f"${{{name}}}", f"variables here: {known}")
            )
        needed = len(value) + sum(len(variables.get(name, "")) for name in VARIABLE.findall(value))
        if needed > LONGEST_TEXT:
            faults.append(Fault("the text is too long", document.where(location), f"{needed} characters"))
            return ""
        return VARIABLE.sub(lambda match: variables.get(match.group(1), match.group(0)), value)

    content = filled(document.content, ())
    raise_all(faults)
    return replace(document, content=content)


def validate(document: Document, model: type[Model] | TypeAdapter[Model]) -> Model:
    """The document as `model`. Raises InputError with every fault on its line, typos with a suggestion."""
    kind = model if isinstance(model, TypeAdapter) else TypeAdapter(model)
    try:
        return kind.validate_python(document.content)
    except ValidationError as invalid:
        schema = kind.json_schema()
        found = [_fault(document, schema, error) for error in _own(invalid.errors())]
        raise InputError(*dict.fromkeys(found)) from invalid


def dotted(location: Location) -> str:
    """`comparisons[0].targets` for ("comparisons", 0, "targets")."""
    text = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in location)
    return text.removeprefix(".")


def nearest(word: str, known: list[str]) -> str:
    """`did you mean "x"?` when a known word is near, else the known words."""
    close = difflib.get_close_matches(word, known, n=1, cutoff=0.6)
    return f'did you mean "{close[0]}"?' if close else f"known: {', '.join(known)}"


def _index(node: yaml.Node, at: Location, lines: dict[Location, int], file: Path) -> list[Fault]:
    lines.setdefault(at, node.start_mark.line + 1)
    if len(lines) > MOST_NODES or len(at) > DEEPEST:
        raise InputError(Fault("too large or too deep; does an anchor contain itself?", f"{_shown(file)}:{lines[at]}"))
    faults: list[Fault] = []
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            here = (*at, str(key.value))
            if here in lines:
                where = f"{_shown(file)}:{key.start_mark.line + 1}: {dotted(here)}"
                faults.append(Fault("the key is given twice", where, f"first in line {lines[here]}"))
                continue
            lines[here] = key.start_mark.line + 1
            faults += _index(value, here, lines, file)
    elif isinstance(node, yaml.SequenceNode):
        for number, item in enumerate(node.value):
            faults += _index(item, (*at, number), lines, file)
    return faults


def _own(errors: Sequence[Any]) -> Iterator[Any]:
    """Without lists that are called too short because their items were refused: the items say it."""
    for error in errors:
        at = error["loc"]
        refused = any(other["loc"][: len(at)] == at and len(other["loc"]) > len(at) for other in errors)
        if error["type"] != "too_short" or not refused:
            yield error


def _fault(document: Document, schema: Any, error: Any) -> Fault:
    location = _in_file(document.content, error["loc"], error["type"])
    if error["type"] == "extra_forbidden":
        return Fault("unknown key", document.where(location), "", _instead(schema, error["loc"]))
    if error["type"] == "missing":
        return Fault("a required key is missing", document.where(location))
    if error["type"] in ("union_tag_invalid", "union_tag_not_found"):
        key = error["ctx"]["discriminator"].strip("'")
        known, tag = sorted(_node(schema, error["loc"])["discriminator"]["mapping"]), error["ctx"].get("tag")
        what = f"no such {key}" if tag else "a required key is missing"
        return Fault(what, document.where((*location, key)), repr(tag) if tag else "", nearest(str(tag), known))
    return Fault(_plain_words(error), document.where(location), _short(error.get("input")))


# Patterns of names, in words.
_PATTERNS = {
    "^[A-Za-z0-9_][A-Za-z0-9_-]{0,99}$": "a name of up to 100 letters, digits, _ and - that does not begin with -",
    "^[a-z0-9][a-z0-9-]{0,39}$": "a name of up to 40 small letters, digits and - that does not begin with -",
    "^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$": "a name of up to 63 small letters, digits and - that no - begins or ends",
    "^[A-Za-z0-9][A-Za-z0-9._/:-]*(@sha256:[0-9a-f]{64})?$": "the name of an image, without user and password,",
    r"^\d{4}\.\d{4,5}$": "an arXiv number such as 2404.15737",
}


def _plain_words(error: Any) -> str:
    """What pydantic refuses, in the words of someone who writes YAML."""
    kind, more = error["type"], error.get("ctx", {})
    if kind in ("too_short", "too_long"):
        bound, count = ("least", more["min_length"]) if kind == "too_short" else ("most", more["max_length"])
        return f"at {bound} {count} {'item is' if count == 1 else 'items are'} wanted, not {more['actual_length']}"
    for kinds, wanted in _WANTED.items():
        if kind in kinds.split():
            return f"{wanted} is wanted"
    if kind == "string_pattern_mismatch" and more["pattern"] in _PATTERNS:
        return f"{_PATTERNS[more['pattern']]} is wanted"
    message = str(error["msg"]).removeprefix("Value error, ").replace("Input should", "it should")
    return message[:1].lower() + message[1:]


def _instead(schema: Any, parts: Location) -> str:
    """What to write in place of an unknown key: a near one, or the kind of this section that has it."""
    key = parts[-1]
    kinds = _node(schema, parts[:-2]).get("discriminator", {}).get("mapping", {})
    owners = [kind for kind in kinds if key in _node(schema, (*parts[:-2], kind)).get("properties", {})]
    known = sorted(_node(schema, parts[:-1]).get("properties", {}))
    return f"it belongs to {' or '.join(owners)}" if owners else nearest(str(key), known)


def _in_file(node: Any, parts: Location, kind: str) -> Location:
    """The keys of pydantic's `parts` that stand in the file, without names of a union's members; a missing one last."""
    location: list[str | int] = []
    for part in parts:
        if (isinstance(node, dict) and part in node) or (isinstance(node, list) and isinstance(part, int)):
            location.append(part)
            node = node[part]  # type: ignore[index]
    return (*location, parts[-1]) if kind == "missing" else tuple(location)


def _node(schema: Any, location: Location) -> Any:
    """The JSON Schema of what stands at `location`, as pydantic names it."""
    node = schema
    for part in location:
        if part != "[key]":
            node = _descend(schema, node, part)
    return _resolved(schema, node)


def _descend(schema: Any, node: Any, part: str | int) -> Any:
    node = _resolved(schema, node)
    if isinstance(part, int):
        return node.get("items", {})
    if part in node.get("properties", {}):
        return node["properties"][part]
    if member := node.get("discriminator", {}).get("mapping", {}).get(part):
        return {"$ref": member}
    for option in (*node.get("anyOf", ()), *node.get("oneOf", ())):
        resolved = _resolved(schema, option)
        if part in resolved.get("properties", {}):
            return resolved["properties"][part]
    return node


def _resolved(schema: Any, node: Any) -> Any:
    while True:
        if "$ref" in node:
            node = schema["$defs"][node["$ref"].rsplit("/", 1)[1]]
            continue
        options = [o for o in (*node.get("anyOf", ()), *node.get("oneOf", ())) if o.get("type") != "null"]
        if "properties" not in node and len(options) == 1:
            node = options[0]
            continue
        return node


def _short(value: Any) -> str:
    text = "nothing" if value is None else repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def _shown(file: Path) -> str:
    """The path as a person would type it from here."""
    relative = os.path.relpath(file)
    return str(file) if relative.startswith("..") else relative
