# SPDX-License-Identifier: Apache-2.0
"""`spatial-vlm parse`: shows how an instruction is understood."""

from __future__ import annotations

import logging
import sys

import click

from spatial_vlm_ros.cli.group import ANSWERED, REFUSED, json_option, print_json, say
from spatial_vlm_ros.errors import FileError, InternalError, SpatialVlmError

_LONGEST_LINE = 1 << 20  # bytes, as for a line of cases.jsonl; a sentence has at most a few thousand

_log = logging.getLogger(__name__)


@click.command()
@click.argument("instruction", required=False)
@click.option("--all-readings", is_flag=True, help="Show all readings, not only the preferred one.")
@click.option("--explain", is_flag=True, help="Show what became of each word, over the sentence.")
@json_option
def parse(instruction: str | None, all_readings: bool, explain: bool, as_json: bool) -> None:
    """Show how an INSTRUCTION is understood.

    Without INSTRUCTION, every line of standard input is parsed.

    \b
    Examples:
      spatial-vlm parse "put the red cup left of the plate"
      spatial-vlm parse --explain "could you, uh, take the white, no, the blue mug please"
      spatial-vlm parse --json < instructions.txt
    """
    if instruction is not None:
        sys.exit(ANSWERED if _parse_one(instruction, all_readings, explain, as_json) else REFUSED)
    while line := sys.stdin.buffer.readline(_LONGEST_LINE + 1):
        if len(line) > _LONGEST_LINE:
            reason = f"a line has more than {_LONGEST_LINE} bytes"
            raise FileError("standard input", reason, "give one sentence per line")
        _parse_one(line.decode("utf-8", "replace").rstrip("\r\n"), all_readings, explain, as_json)


def _parse_one(instruction: str, all_readings: bool, explain: bool, as_json: bool) -> bool:
    """Print one instruction's reading or error; returns whether it was understood."""
    from spatial_vlm_ros.language import parse as parse_instruction
    from spatial_vlm_ros.output import terminal
    from spatial_vlm_ros.output.json_schema import query_json

    try:
        queries = parse_instruction(instruction)
    except SpatialVlmError as error:
        return _refuse(instruction, error, as_json)
    except Exception as error:  # a bug here costs one line, not the rest
        _log.exception("unexpected exception while parsing %r", instruction)
        return _refuse(instruction, InternalError.of(error), as_json)
    if explain and not as_json:
        terminal.account(queries[0])
    for query in queries if all_readings else queries[:1]:
        print_json(query_json(query)) if as_json else terminal.reading(query)
    return True


def _refuse(instruction: str, error: SpatialVlmError, as_json: bool) -> bool:
    from spatial_vlm_ros.output.json_schema import error_json

    print_json(error_json(instruction, error)) if as_json else say(f"{error.status_name}: {error}")
    return False
