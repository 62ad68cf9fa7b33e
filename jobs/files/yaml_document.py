"""YAML that remembers its lines, and pydantic's faults put back on them, all of a file at once."""

from __future__ import annotations

import difflib
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ValidationError

from jobs.errors import Fault, InputError, raise_all

Location = tuple[str | int, ...]
Model = TypeVar("Model", bound=BaseModel)
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
    """A parsed YAML file: plain values, and the line (from 1) of every key and item."""

    file: Path
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
    """Safe YAML only. Raises InputError for a missing file, broken syntax, a tag or a key given twice."""
    try:
        if file.stat().st_size > MOST_BYTES:
            raise InputError(Fault("the file is too large", _shown(file), f"{file.stat().st_size} bytes"))
        text = file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as fault:
        raise InputError(Fault("the file cannot be read", _shown(file), str(fault))) from fault
    try:
        node = yaml.compose(text, Loader=PlainLoader)
        lines: dict[Location, int] = {}
        raise_all(_index(node, (), lines, file)[:MOST_FAULTS] if node is not None else [])
        return Document(file, yaml.load(text, Loader=PlainLoader), lines)  # noqa: S506 - a SafeLoader
    except yaml.MarkedYAMLError as fault:
        line = fault.problem_mark.line + 1 if fault.problem_mark else 1
        raise InputError(Fault(f"not valid YAML: {fault.problem}", f"{_shown(file)}:{line}")) from fault
    except (yaml.YAMLError, ValueError) as fault:  # a control character; a date or number that cannot be
        raise InputError(Fault(f"not valid YAML: {' '.join(str(fault).split())}", _shown(file))) from fault


def substitute(document: Document, variables: Mapping[str, str]) -> Document:
    """Replace `${name}` in every text value. Raises InputError for names that no variable has."""
    faults: list[Fault] = []

    def replace(value: Any, location: Location) -> Any:
        if isinstance(value, dict):
            return {k: replace(v, (*location, k)) for k, v in value.items()}
        if isinstance(value, list):
            return [replace(v, (*location, i)) for i, v in enumerate(value)]
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

    content = replace(document.content, ())
    raise_all(faults)
    return Document(document.file, content, document.lines)


def validate(document: Document, model: type[Model]) -> Model:
    """The document as `model`. Raises InputError with every fault on its line, typos with a suggestion."""
    try:
        return model.model_validate(document.content)
    except ValidationError as invalid:
        raise InputError(*(_fault(document, model, error) for error in _own(invalid.errors()))) from invalid


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


def _fault(document: Document, model: type[BaseModel], error: Any) -> Fault:
    named: Location = tuple(part for part in error["loc"] if part != "[key]")
    location = _in_document(document.content, named, error["type"] == "missing")
    got = _short(error.get("input"))
    if error["type"] == "extra_forbidden":
        return Fault("unknown key", document.where(location), "", _instead(model, named))
    if error["type"] == "union_tag_not_found":
        key = str(error["ctx"]["discriminator"]).strip("'")
        return Fault("a required key is missing", document.where((*location, key)))
    if error["type"] == "union_tag_invalid":
        key, tags = str(error["ctx"]["discriminator"]).strip("'"), str(error["ctx"]["expected_tags"])
        todo = nearest(str(error["ctx"]["tag"]), [tag.strip(" '") for tag in tags.split(",")])
        return Fault(f"unknown {key}", document.where((*location, key)), str(error["ctx"]["tag"]), todo)
    if error["type"] == "missing":
        return Fault("a required key is missing", document.where(location))
    return Fault(plain_words(error), document.where(location), got)


def plain_words(error: Any) -> str:
    """What pydantic refuses, in the words of someone who writes YAML."""
    kind, more = error["type"], error.get("ctx", {})
    if kind in ("too_short", "too_long"):
        bound, count = ("least", more["min_length"]) if kind == "too_short" else ("most", more["max_length"])
        return f"at {bound} {count} {'item is' if count == 1 else 'items are'} wanted, not {more['actual_length']}"
    for ending, wanted in _WANTED.items():
        if kind in ending.split():
            return f"{wanted} is wanted"
    message = str(error["msg"]).removeprefix("Value error, ").replace("Input should", "it should")
    return message[:1].lower() + message[1:]


def _in_document(content: Any, named: Location, lacks_last: bool) -> Location:
    """`named` without the tags of unions, which stand in no file; the last part is a key that lacks, if so said."""
    node: Any = content
    location = list[str | int]()
    part: Any
    for number, part in enumerate(named):
        is_key = not isinstance(node, dict) or part in node
        if is_key or (lacks_last and number == len(named) - 1):
            location.append(part)
            node = node[part] if isinstance(node, (dict, list)) and is_key else None
    return tuple(location)


def _instead(model: type[BaseModel], named: Location) -> str:
    """What to write in place of an unknown key, by the model's JSON Schema: a near one, or the kind that has it."""
    schema = model.model_json_schema()
    node: Any = schema
    above: Any = {}
    for part in named[:-1]:
        above, node = node, _descend(schema, node, part)
    kinds: dict[str, str] = _resolved(schema, above).get("discriminator", {}).get("mapping", {})
    key = str(named[-1])
    owners = [kind for kind in kinds if key in _descend(schema, above, kind).get("properties", {})]
    return f"it belongs to kind {' or '.join(owners)}" if owners else nearest(key, _keys(_resolved(schema, node)))


def _keys(node: Any) -> list[str]:
    return sorted(node.get("properties", {}))


def _descend(schema: Any, node: Any, part: str | int) -> Any:
    node = _resolved(schema, node)
    if isinstance(part, int):
        return node.get("items", {})
    if part in node.get("properties", {}):
        return node["properties"][part]
    if part in node.get("discriminator", {}).get("mapping", {}):
        return _resolved(schema, {"$ref": node["discriminator"]["mapping"][part]})
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
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def _shown(file: Path) -> str:
    """The path as a person would type it from here."""
    relative = os.path.relpath(file)
    return str(file) if relative.startswith("..") else relative
