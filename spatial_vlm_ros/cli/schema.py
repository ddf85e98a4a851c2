# SPDX-License-Identifier: Apache-2.0
"""`spatial-vlm schema`: prints the JSON Schema of a `--json` output."""

from __future__ import annotations

import json

import click


@click.command()
@click.argument("name", type=click.Choice(["query", "resolution", "comparison"]))
def schema(name: str) -> None:
    """Print the JSON Schema of an output."""
    from spatial_vlm_ros.output.json_schema import json_schema

    click.echo(json.dumps(json_schema(name), indent=1, ensure_ascii=False))
