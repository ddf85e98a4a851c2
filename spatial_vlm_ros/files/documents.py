# SPDX-License-Identifier: Apache-2.0
"""Read JSON, YAML and XML files, with limits on size and nesting that apply before a parser builds anything."""

from __future__ import annotations

import json
import pkgutil
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from spatial_vlm_ros.errors import FileError
from spatial_vlm_ros.files.reading import MIB, read_bytes

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

if TYPE_CHECKING:
    from xml.etree.ElementTree import Element

LARGEST_JSON = 2 * MIB
"""Bytes. JSON without a known form takes up to 22 times its size in memory: "[]," is 3 bytes, a Python list 64."""
DEEPEST_JSON = 64
"""Levels of lists and objects; the deepest file of this package has 7."""
LARGEST_YAML = MIB // 4
"""Bytes; config/resolver.yaml, with every parameter, has 13,000."""
DEEPEST_YAML = 32
MOST_NODES = 200_000
"""Values of a YAML file with its aliases expanded."""
LARGEST_XML = 16 * MIB
"""Bytes of a URDF or SDF; meshes are in files of their own."""
MOST_ELEMENTS = 200_000
DEEPEST_XML = 100
MOST_ATTRIBUTES = 100
"""Most attributes of an XML element; one of a URDF has at most 8."""
LONGEST_ATTRIBUTE = 64 * 1024
"""Characters of an attribute's value; parsers of numbers keep all of it."""
LONGEST_NUMBER = 400
"""Characters of a number in YAML: one of 3,000 digits cannot be shown, and base 60 takes the square of its length."""
_STRING = re.compile(rb'"[^"]*"?')
_NO_BRACKETS = bytes(set(range(256)) - set(b"[]{}"))


def table_of(package: str | None, name: str) -> dict[str, Any]:
    """The content of a TOML file that comes with the package."""
    return tomllib.loads((pkgutil.get_data(package or "", name) or b"").decode())


def read_json(path: str | Path, repair: str, largest: int = LARGEST_JSON) -> Any:
    """Read the value of a JSON file in UTF-8 of at most `largest` bytes."""
    return parse_json(read_bytes(path, repair, largest), path, repair)


def parse_json(text: bytes, path: str | Path, repair: str, field: str | None = None) -> Any:
    """Parse a JSON text that came from `path`."""
    check_depth(text, path, repair, field)
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:  # ValueError: not JSON, not UTF-8, a number of 5,000 digits
        raise FileError(path, f"not JSON: {error}", repair, field) from error


def check_depth(text: bytes, path: str | Path, repair: str, field: str | None = None) -> None:
    """Check that a JSON text is not nested deeper than DEEPEST_JSON."""
    if text.count(b"[") + text.count(b"{") <= DEEPEST_JSON:
        return
    bare = text.replace(b"\\\\", b"").replace(b'\\"', b"")  # a backslash occurs only in strings
    left = _STRING.sub(b"", bare).translate(None, _NO_BRACKETS)
    for _ in range(DEEPEST_JSON):  # removing the innermost pairs level by level is fast
        before, left = len(left), left.replace(b"[]", b"").replace(b"{}", b"")
        if len(left) == before:  # only unpaired brackets are left, if any
            depth = most = 0
            for bracket in left:
                depth += 1 if bracket in b"[{" else -1
                most = max(most, depth)
                if most > DEEPEST_JSON:
                    break
            too_deep = most > DEEPEST_JSON
            break
    else:
        too_deep = bool(left)
    if too_deep:
        raise FileError(path, f"the JSON has more than {DEEPEST_JSON} levels", repair, field)


# ------------------------------------------------------------------------------------------------ YAML


def read_yaml(path: str | Path, repair: str, largest: int = LARGEST_YAML, *, aliases: bool = False) -> Any:
    """Read a YAML file of plain values in UTF-8, of at most `largest` bytes, and MOST_NODES values if it has aliases.

    ROS refuses them in parameter files (ros2/rcl, rcl_yaml_param_parser/src/parse.c, YAML_ALIAS_EVENT), but metadata of
    bags may have them.
    """
    return parse_yaml(read_bytes(path, repair, largest), path, repair, aliases=aliases)


def parse_yaml(data: bytes, path: str | Path, repair: str, *, aliases: bool = False) -> Any:
    """As `read_yaml`, for bytes that came from `path`."""
    import yaml

    try:
        text = data.decode("utf-8")
        _check_yaml(text, path, repair, aliases)
        return yaml.load(text, getattr(yaml, "CSafeLoader", yaml.SafeLoader))  # noqa: S506 - both are safe loaders
    except FileError:
        raise
    except (yaml.YAMLError, ValueError, RecursionError, TypeError, LookupError) as error:  # the 31st of June, !!int ""
        raise FileError(path, f"not YAML: {' '.join(str(error).split())}", repair) from error


def _check_yaml(text: str, path: str | Path, repair: str, aliases: bool) -> None:
    """Refuse aliases and deep nesting, using parser events, which build nothing."""
    import yaml

    open_: list[tuple[str | None, int]] = []  # anchor of each open collection, and the number of values in it so far
    sizes: dict[str, int] = {}  # number of values of an anchor when expanded
    for event in yaml.parse(text, getattr(yaml, "CSafeLoader", yaml.SafeLoader)):
        line = f"line {event.start_mark.line + 1}" if event.start_mark else None
        size = 1
        if isinstance(event, yaml.CollectionStartEvent):
            open_.append((event.anchor, 1))
            if len(open_) > DEEPEST_YAML:
                raise FileError(path, f"the YAML has more than {DEEPEST_YAML} levels", repair)
            continue
        if isinstance(event, yaml.AliasEvent):
            if not aliases:
                plain = "write the values out, because ROS does not read aliases"
                raise FileError(path, f"it has the alias *{event.anchor}", plain, line)
            size = sizes.get(str(event.anchor), MOST_NODES)  # within itself
        elif isinstance(event, yaml.CollectionEndEvent):
            anchor, size = open_.pop()
            if anchor:
                sizes[anchor] = size
        elif isinstance(event, yaml.ScalarEvent):
            is_tagged = (event.tag or "").endswith((":int", ":float"))
            is_number = is_tagged or (event.implicit[0] and event.value.lstrip("+-.")[:1].isdigit())
            if len(event.value) > LONGEST_NUMBER and is_number:
                raise FileError(path, f"a number has {len(event.value)} characters", repair, line)
            if event.anchor:
                sizes[event.anchor] = 1
        if open_:
            anchor, sum_ = open_.pop()
            if sum_ + size > MOST_NODES:
                raise FileError(path, f"the YAML has more than {MOST_NODES} values", repair)
            open_.append((anchor, sum_ + size))


# ------------------------------------------------------------------------------------------------ XML


def read_xml(path: str | Path, repair: str) -> Element:
    """Read the root element of an XML file (URDF, SDF, a mesh).

    A file with a document type is refused, because that is where entities are defined.
    """
    return parse_xml(read_bytes(path, repair, LARGEST_XML), path, repair)


def parse_xml(data: bytes, path: str | Path, repair: str) -> Element:
    """As `read_xml`, for bytes that came from `path`."""
    from xml.etree import ElementTree
    from xml.parsers import expat

    depth = elements = 0

    def refuse_doctype(*_: object) -> None:
        raise FileError(path, "it has a document type (<!DOCTYPE>)", "remove it, because entities are not expanded")

    def start(name: str, attributes: dict[str, str]) -> None:
        nonlocal depth, elements
        depth, elements = depth + 1, elements + 1
        if depth > DEEPEST_XML or elements > MOST_ELEMENTS:
            raise FileError(path, f"the XML has more than {DEEPEST_XML} levels or {MOST_ELEMENTS} elements", repair)
        if len(attributes) > MOST_ATTRIBUTES or max(map(len, attributes.values()), default=0) > LONGEST_ATTRIBUTE:
            limit = f"{MOST_ATTRIBUTES} attributes, or an attribute of more than {LONGEST_ATTRIBUTE} characters"
            raise FileError(path, f"the element {name[:50]!r} has more than {limit}", repair)

    def end(*_: object) -> None:
        nonlocal depth
        depth -= 1

    parser = expat.ParserCreate()
    parser.StartDoctypeDeclHandler, parser.StartElementHandler, parser.EndElementHandler = refuse_doctype, start, end
    try:
        parser.Parse(data, True)
        return ElementTree.fromstring(data)  # noqa: S314 - checked above: no entities
    except FileError:
        raise
    except (expat.ExpatError, ElementTree.ParseError, ValueError, LookupError) as error:  # an unknown encoding
        raise FileError(path, f"not XML: {error}", repair) from error
