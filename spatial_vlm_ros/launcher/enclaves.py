# SPDX-License-Identifier: Apache-2.0
"""Policies of SROS2 for what a launch file starts, from the table of all interfaces (interfaces.toml)."""

from __future__ import annotations

import dataclasses
import posixpath
import re
from collections.abc import Iterable, Iterator, Mapping
from functools import partial
from typing import Any
from xml.etree import ElementTree

from spatial_vlm_ros import parameters
from spatial_vlm_ros.errors import FileError
from spatial_vlm_ros.files.documents import read_yaml, table_of
from spatial_vlm_ros.launcher.actions import enclave
from spatial_vlm_ros.launcher.plan import PACKAGE, Process

TABLE: dict[str, Any] = table_of(__package__, "interfaces.toml")
"""Node → its interfaces by kind."""
KINDS = {
    "publishes": ("topic", "publish"), "subscribes": ("topic", "subscribe"), "serves": ("service", "reply"),
    "calls": ("service", "request"), "executes": ("action", "execute"), "sends": ("action", "call"),
}  # fmt: skip
"""Kind of interface → its element and attribute in a policy (sros2 e349fcf2, sros2/policy/schemas/policy.xsd)."""
PEOPLE = ("operator", "anyone")
_FORM = "write it in the form of config/resolver.yaml"


def interfaces_of(node: str, given: Mapping[str, Any]) -> Iterator[tuple[str, str, str, bool]]:
    """Kind, name and type of each interface of a node, and whether it is always there."""
    values = {"use_sim_time": "false"}
    for name in TABLE[node].get("parameters", ()):
        values |= _flat(dataclasses.asdict(getattr(parameters, name)()))
    values |= _flat(given)
    for part in (*TABLE[node].get("is", ()), node):
        for kind in KINDS:
            for name, form, _, *conditions in TABLE[part].get(kind, ()):
                said = [each.partition("=") for each in conditions]
                if all((values[key.rstrip("!")] == value) != (key[-1] == "!") for key, is_, value in said if is_):
                    yield from ((kind, each, form, all(is_ for _, is_, _ in said)) for each in _names(name, values))


def _names(name: str, values: Mapping[str, str]) -> Iterator[str]:
    """The names for which a name of the table stands."""
    if placed := re.search(r"{([\w.]+)}", name):
        for word in values[placed[1]].split():
            yield from _names(name[: placed.start()] + word + name[placed.end() :], values)
    else:
        beside, plus, own = name.partition(" + ")
        yield posixpath.join(posixpath.dirname(beside), own) if plus else name


def _flat(values: Mapping[str, Any], prefix: str = "") -> dict[str, str]:
    """Parameters by their full names, as text."""
    found: dict[str, str] = {}
    for name, value in values.items():
        text = str(value).lower() if isinstance(value, bool) else str(value)
        found |= _flat(value, f"{prefix}{name}.") if isinstance(value, Mapping) else {prefix + name: text}
    return found


def policy(processes: Iterable[Process]) -> str:
    """Write a policy with an enclave for each process of this package, and for `PEOPLE`; every one may call `stop`."""
    root = ElementTree.Element("policy", version="0.2.0")
    enclaves = ElementTree.SubElement(root, "enclaves")
    ours = [each for each in processes if each.package == PACKAGE]
    spaces = dict.fromkeys(each.namespace for each in ours)
    for process in (*ours, *(Process(PACKAGE, name, name, space) for space in spaces for name in PEOPLE)):
        given: dict[str, Any] = {}
        for file in process.parameter_files:
            read = read_yaml(file, _FORM)
            try:
                for node in ("/**", process.name, process.full_name):
                    given |= _flat(read[node]["ros__parameters"]) if node in read else {}
            except (AttributeError, KeyError, TypeError) as error:
                raise FileError(file, "a node in it has no ros__parameters", _FORM) from error
        space = posixpath.dirname(process.full_name)
        full = partial(posixpath.join, space)
        renamed = {full(name): full(other) for name, other in process.remappings}
        entry = ElementTree.SubElement(enclaves, "enclave", path=enclave(process.namespace, process.name))
        profiles = ElementTree.SubElement(entry, "profiles")
        for node in (process.name, *TABLE[process.name].get("beside", ())):
            profile = ElementTree.SubElement(profiles, "profile", ns=space, node=node)
            found = [*interfaces_of(node, {**given, **process.parameters}), ("calls", "stop", "", True)]
            for kind, (element, right) in KINDS.items():
                names = {full(name.replace("~", node)) for each, name, *_ in found if each == kind}
                if names:
                    rights = ElementTree.SubElement(profile, f"{element}s", {right: "ALLOW"})
                    for name in sorted(renamed.get(name, name) for name in names):
                        ElementTree.SubElement(rights, element).text = name
    ElementTree.indent(root)
    return ElementTree.tostring(root, "unicode")
