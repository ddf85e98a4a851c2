# SPDX-License-Identifier: Apache-2.0
"""What a program can name is in the Reference: Python names, commands, parameters, ROS names, statuses, JSON fields."""

import ast
import dataclasses
import json
import re
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

import spatial_vlm_ros
from scripts.generate import site_pages
from spatial_vlm_ros import parameters
from spatial_vlm_ros.cli.main import main
from spatial_vlm_ros.streams import frame_assembler
from spatial_vlm_ros.types import Status

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"


def page(name: str) -> str:
    return site_pages().get(f"docs/{name}.md") or (DOCS / f"{name}.md").read_text(encoding="utf-8")


def linked(name: str) -> Iterator[str]:
    """Texts of the pages that a page links to."""
    for target in dict.fromkeys(re.findall(r"\]\(([\w/]+)\.md[)#]", page(name))):
        yield page((Path(name).parent / target).as_posix())


def sections(name: str, level: int) -> dict[str, str]:
    """Texts of a page below its headings of a level."""
    parts = re.split(rf"^#{{{level}}} (.+)$", page(name), flags=re.M)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


def test_every_public_name_is_in_the_python_reference() -> None:
    pages = "".join(linked("generated/python_api"))
    names = set(re.findall(r"^\.\. (?:auto\w+|py:data):: spatial_vlm_ros\.(\w+)$", pages, re.M))
    assert set(spatial_vlm_ros.__all__) - names == set()


@pytest.mark.parametrize("verb", main.list_commands(click.Context(main)))
def test_every_command_is_in_the_reference_with_each_of_its_options(verb: str) -> None:
    told = {
        heading.lstrip("# "): text for level in (2, 3) for heading, text in sections("generated/cli", level).items()
    }

    def check(command: click.Command | None, path: str) -> None:
        assert command is not None
        for option in command.params:
            for name in [*option.opts, *option.secondary_opts] if isinstance(option, click.Option) else ():
                assert re.search(rf"^- .*`{re.escape(name)}[ `]", told[path], re.M), f"{path} {name}"
        if isinstance(command, click.Group):
            for name, below in command.commands.items():
                check(below, f"{path} {name}")
        assert path in told

    check(main.get_command(click.Context(main), verb), f"spatial-vlm {verb}")


@pytest.mark.parametrize("name", [name for name in parameters.__all__ if name.endswith("Config")])
def test_every_parameter_is_in_the_reference(name: str) -> None:
    text = page("generated/parameters")
    for field in dataclasses.fields(getattr(parameters, name)):
        if field.metadata or field.name == "frame_of_reference":
            assert re.search(rf"`(\w+\.)?{field.name}`", text), field.name


def ros_names(path: Path) -> Iterator[str]:
    """Topics, services and actions that a module creates under a name which is written in it, or has a role."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    known = {f"roles.{name}": value for name, value in vars(frame_assembler).items() if isinstance(value, str)}
    for node in tree.body:
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Constant):
            known[ast.unparse(node.targets[0])] = node.value.value
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            made = ast.unparse(node.func).rsplit(".", 1)[-1]
            places = {"GoalServer": 2, "ActionClient": 2}
            place = 1 if made.startswith("create_") or made == "create" else places.get(made, len(node.args))
            for name in node.args[place : place + 1]:
                value = name.value if isinstance(name, ast.Constant) else known.get(ast.unparse(name))
                if isinstance(value, str):
                    yield value


def test_every_topic_service_and_action_is_in_the_reference() -> None:
    text = "".join(linked("reference"))
    names = {name for path in (ROOT / "spatial_vlm_ros" / "nodes").rglob("*.py") for name in ros_names(path)}
    names |= {frame_assembler.RGB, frame_assembler.DEPTH, frame_assembler.RGB_INFO, frame_assembler.DEPTH_INFO}
    assert {"resolve", "pick", "stop", "approve", "resolution", "verdict", "/clock", "rgb/image"} <= names
    assert sorted(name for name in names if f"`{name}`" not in text and f"`/{name}`" not in text) == []


def test_every_interface_is_in_the_reference_with_each_of_its_fields() -> None:
    told = sections("generated/interfaces", 3)
    for folder in ("action", "msg", "srv"):
        for path in (ROOT / "interfaces" / folder).iterdir():
            assert path.read_text(encoding="utf-8").strip() in told[path.name]


def test_every_status_is_in_the_reference() -> None:
    for status in Status:
        assert f"`{status.value}` ({status.code}): " in page("statuses")


@pytest.mark.parametrize("path", sorted((DOCS / "schema").glob("*.json")), ids=lambda path: path.stem)
def test_every_field_of_json_is_in_the_reference(path: Path) -> None:
    told = sections("generated/json_fields", 2)
    for name, form in json.loads(path.read_text(encoding="utf-8"))["$defs"].items():
        for field in form.get("properties", {}):
            assert f"\n- `{field}` (" in told[name], f"{name}.{field}"
