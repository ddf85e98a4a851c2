# SPDX-License-Identifier: Apache-2.0
"""Write the files that are made from the code: config/resolver.yaml, docs/parameters.md, docs/schema/*.json.

Run it after changing config.py or types.py; a test compares the files with what this makes.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator
from pathlib import Path

from spatial_vlm_ros.config import ResolverConfig
from spatial_vlm_ros.schema import json_schema

ROOT = Path(__file__).resolve().parent.parent


def groups() -> Iterator[tuple[str, object]]:
    """Parameter groups by name."""
    config = ResolverConfig()
    for field in dataclasses.fields(config):
        value = getattr(config, field.name)
        if dataclasses.is_dataclass(value):
            yield field.name, value


def parameter_yaml() -> str:
    """All parameters with their defaults, as a ROS parameter file."""
    lines = [
        "# Every parameter with its default. Made by scripts/generate.py from spatial_vlm_ros/config.py.",
        "/**:",
        "  ros__parameters:",
        "    # used where neither the words nor the request say one: viewer or robot",
        f"    frame_of_reference: {ResolverConfig().frame_of_reference.value}",
    ]
    for name, group in groups():
        lines.append(f"    {name}:")
        for field in dataclasses.fields(group):  # type: ignore[arg-type]
            m = field.metadata
            lines.append(f"      # {m['doc']} ({m['low']} to {m['high']}{' ' + m['unit'] if m['unit'] else ''})")
            lines.append(f"      {field.name}: {getattr(group, field.name)}")
    return "\n".join(lines) + "\n"


def parameter_table() -> str:
    """All parameters as a Markdown page."""
    lines = [
        "# Parameters",
        "",
        "Made by `scripts/generate.py` from `spatial_vlm_ros/config.py`, the one place where they are declared.",
        "`config/resolver.yaml` holds the same as a ROS parameter file; the command line reads it with `--config`.",
        "",
        "`frame_of_reference` (viewer or robot, default viewer): used where neither the words nor the request say one.",
    ]
    for name, group in groups():
        lines += ["", f"## {name}", "", (type(group).__doc__ or "").strip(), ""]
        lines += ["| name | default | range | unit | what it is |", "|---|---|---|---|---|"]
        for field in dataclasses.fields(group):  # type: ignore[arg-type]
            m = field.metadata
            lines.append(
                f"| `{name}.{field.name}` | {getattr(group, field.name)} | {m['low']} to {m['high']} "
                f"| {m['unit']} | {m['doc']} |"
            )
    return "\n".join(lines) + "\n"


def files() -> dict[str, str]:
    """Path, from the repository's root, and content of every generated file."""
    made = {"config/resolver.yaml": parameter_yaml(), "docs/parameters.md": parameter_table()}
    for name in ("query", "resolution"):
        schema = json_schema(name)
        text = json.dumps(schema, indent=1, ensure_ascii=False) + "\n"
        made[f"docs/schema/{name}.v{schema['version']}.json"] = text
    return made


if __name__ == "__main__":
    for path, text in files().items():
        (ROOT / path).parent.mkdir(parents=True, exist_ok=True)
        (ROOT / path).write_text(text, encoding="utf-8")
        print(path)
