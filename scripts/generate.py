# SPDX-License-Identifier: Apache-2.0
"""Write the files generated from the code: pages of the Reference, schemas, grammar, worlds, messages and more.

Run it after changing `parameters/`, `types/`, `cli/`, `interfaces/`, `language/grammar.lark`, shapes of sim/, a result
of a benchmark, or what pages import from the package. A test compares the files with the output of this script.
"""

from __future__ import annotations

import dataclasses
import functools
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from scripts.collect_messages import messages
from scripts.fault_kinds import fault_table
from scripts.faults_page import faults_page
from scripts.figures_page import figures_page
from scripts.gazebo_world import world_files
from scripts.grammar_table import grammar_table
from scripts.markdown import item, page, table, wrapped
from scripts.reference_pages import reference_pages, status_page
from spatial_vlm_ros.budgets import BUDGETS
from spatial_vlm_ros.output.json_schema import json_schema
from spatial_vlm_ros.parameters import (
    ArmPlannerConfig,
    BagConfig,
    EvidenceConfig,
    GateConfig,
    NodeConfig,
    PlanningConfig,
    PlayerConfig,
    ResolverConfig,
    SimArmConfig,
    StreamConfig,
    TrackerConfig,
)
from spatial_vlm_ros.types import FrameOfReference

ROOT = Path(__file__).resolve().parent.parent

DEFAULT_FRAMES = " or ".join(frame.value for frame in FrameOfReference if frame is not FrameOfReference.OBJECT)
Entry = tuple[str, Any, Any]
"""Name, default and metadata of a parameter."""


def groups(config: Any) -> Iterator[tuple[str, object]]:
    """Parameter groups of a configuration, by name."""
    for field in dataclasses.fields(config):
        value = getattr(config, field.name)
        if dataclasses.is_dataclass(value):
            yield field.name, value


def entries(config: Any) -> list[Entry]:
    """The parameters of a flat configuration."""
    return [(field.name, getattr(config, field.name), field.metadata) for field in dataclasses.fields(config)]


def parameter_yaml() -> str:
    """Write all parameters with their defaults as a ROS parameter file."""
    lines = [
        "# Every parameter with its default. Made by scripts/generate.py from spatial_vlm_ros/parameters/.",
        "/**:",
        "  ros__parameters:",
        f"    # used if neither the words nor the request state one ({DEFAULT_FRAMES})",
        f"    frame_of_reference: {ResolverConfig().frame_of_reference.value}",
    ]
    for name, group in groups(ResolverConfig()):
        lines.append(f"    {name}:")
        lines += yaml_lines(group, 6)
    for config in (StreamConfig(), NodeConfig()):
        lines += ["", f"    # --- {(type(config).__doc__ or '').strip()}"]
        lines += yaml_lines(config, 4)
    lines += ["", f"    # --- {(EvidenceConfig.__doc__ or '').strip()}", "    evidence:"]
    lines += yaml_lines(EvidenceConfig(), 6)
    return "\n".join(lines) + "\n"


def planning_yaml() -> str:
    """Write all planning parameters with their defaults as a ROS parameter file."""
    lines = [
        "# Every parameter of planning with its default; the gripper is the Franka Hand. Made by scripts/generate.py.",
        "/**:",
        "  ros__parameters:",
    ]
    for name, group in groups(PlanningConfig()):
        lines += [f"    {name}:", *yaml_lines(group, 6)]
    return "\n".join(lines) + "\n"


def yaml_lines(config: Any, indent: int) -> Iterator[str]:
    """Parameters of a flat configuration, each below its comment."""
    for name, value, metadata in entries(config):
        limits = bounds(metadata)
        yield f"{' ' * indent}# {metadata['doc']}{f' ({limits})' if limits else ''}"
        yield f"{' ' * indent}{name}: {yaml_value(value)}"


def yaml_value(value: Any) -> str:
    """Write a value so that YAML reads it back with its type; ROS reads 1 as an integer, so floats keep their point."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        return value if value and yaml.safe_load(value) == value else f"'{value}'"
    text = str(value)
    if yaml.safe_load(text) != value or type(yaml.safe_load(text)) is not type(value):
        raise ValueError(f"{text} is not read back from YAML as it is")
    return text


def bounds(metadata: Any) -> str:
    """Allowed values of a number or a word; empty if any value of its type is allowed."""
    if "low" in metadata:
        return f"{metadata['low']} to {metadata['high']} {metadata['unit']}".strip()
    return " or ".join(choice or "''" for choice in metadata["choices"])


def budgets_page() -> str:
    """Write the budgets of requests as a Markdown page."""
    head = """What is beyond is refused with a typed error. [Files](../files.md#why-a-file-is-refused) and
[parameters](parameters.md), such as `resolve_timeout`, have limits of their own.

This page is generated from `spatial_vlm_ros/budgets.py` by `make docs`."""
    rows = [(request, what, f"{most:,.10g} {unit}".strip()) for request, what, most, unit in BUDGETS]
    return page("Budgets of requests", head, table(("request", "what", "at most"), rows))


def parameter_page() -> str:
    """Write all parameters as a Markdown page."""
    lines = [
        "# Parameters",
        "",
        "This page is generated from `spatial_vlm_ros/parameters/` by `make docs`.",
        "",
        wrapped(
            """
            `config/resolver.yaml` has the parameters of the resolver with their defaults, as a ROS parameter
            file. The node reads such a file with `--params-file`, the command line with `--config`. The
            parameters of [planning](../planning.md) are in `config/planning.yaml`; the node `planner_gate` reads
            them. *Read at start* marks what the resolver reads when it is configured, and another node when it
            starts.
            """
        ),
        "",
        item(
            "`frame_of_reference`: used if neither the words nor the request state one. Default "
            f"`{ResolverConfig().frame_of_reference.value}`; {DEFAULT_FRAMES}."
        ),
    ]
    for name, group in groups(ResolverConfig()):
        lines += section(name, group, f"{name}.")
    for title, config in (
        ("Streams", StreamConfig()),
        ("Node", NodeConfig()),
        ("Evidence", EvidenceConfig()),
        ("Node tracker", TrackerConfig()),
        ("Node frame_player", PlayerConfig()),
        ("Node bag_player", BagConfig()),
        ("Node arm_planner", ArmPlannerConfig()),
        ("Node planner_gate", GateConfig()),
        ("Node sim_arm", SimArmConfig()),
    ):
        lines += section(title, config, "evidence." if title == "Evidence" else "")
    for name, group in groups(PlanningConfig()):
        lines += section(f"Planning: {name}", group, f"{name}.")
    return "\n".join(lines) + "\n"


def section(title: str, config: Any, prefix: str = "") -> Iterator[str]:
    """Write a section with the parameters of a configuration."""
    yield from ("", f"## {title}", "", (type(config).__doc__ or "").strip(), "")
    for name, value, metadata in entries(config):
        limits = f"; {limits}" if (limits := bounds(metadata)) else ""
        start = " Read at start." if metadata.get("fixed") else ""
        yield item(f"`{prefix}{name}`: {metadata['doc'].rstrip('.')}. Default `{yaml_value(value)}`{limits}.{start}")


@functools.cache
def site_pages() -> dict[str, str]:
    """Path and content of the pages that are made with the site, and not kept: those of docs/generated."""
    return {
        "docs/generated/parameters.md": parameter_page(),
        "docs/generated/budgets.md": budgets_page(),
        "docs/generated/fault_kinds.md": fault_table(),
        "docs/generated/faults.md": faults_page(),
        **reference_pages(),
    }


def files() -> dict[str, str]:
    """Path, from the repository's root, and content of every generated file that is kept."""
    made = {
        "config/resolver.yaml": parameter_yaml(),
        "config/planning.yaml": planning_yaml(),
        "docs/figures.md": figures_page(),
        "docs/statuses.md": status_page(),
        "spatial_vlm_ros/language/grammar.json": grammar_table(),
    }
    for name in ("query", "resolution", "comparison"):
        schema = json_schema(name)
        text = json.dumps(schema, indent=1, ensure_ascii=False) + "\n"
        made[f"docs/schema/{name}.v{schema['version']}.json"] = text
    made.update(messages())
    made.update({f"worlds/{path}": text for path, text in world_files().items()})
    return made


if __name__ == "__main__":
    for path, text in files().items():
        (ROOT / path).parent.mkdir(parents=True, exist_ok=True)
        (ROOT / path).write_text(text, encoding="utf-8")
        print(path)
