# SPDX-License-Identifier: Apache-2.0
"""Shared by commands that need ROS: loads their part of nodes/, prints a request's progress and result."""

from __future__ import annotations

import importlib
import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NoReturn

import click

from spatial_vlm_ros.cli.group import FAILED, print_json, say
from spatial_vlm_ros.errors import SpatialVlmError

INTERRUPTED = 130


def of_nodes(module: str) -> Any:
    """A module of nodes/; without ROS, say what is missing and exit."""
    try:
        return importlib.import_module(f"spatial_vlm_ros.nodes.{module}")
    except ModuleNotFoundError as error:
        from spatial_vlm_ros.nodes.main import missing

        fail(missing(error))


def fail(why: object, code: int = FAILED) -> NoReturn:
    """Print why a command fails, and exit."""
    say(why, err=True)
    sys.exit(code)


@contextmanager
def conversation() -> Iterator[None]:
    """Within it, an error and Ctrl-C at a prompt end the command."""
    try:
        yield
    except SpatialVlmError as error:
        fail(error)
    except click.Abort:
        fail("cancelled", INTERRUPTED)


def replied(question: str) -> str:
    """The person's reply to a question, from the terminal; "" if there is none, or nobody to reply."""
    if not (question and sys.stdin.isatty()):
        return ""
    reply: str = click.prompt("  answer", default="", show_default=False)
    return reply if reply.strip() else ""


def print_progress(words: str) -> None:
    """Print a stage of a request; on a terminal, the page's address includes its secret if the user may read it.

    In a file or pipe, and for another user's page, the address comes without the secret, with the path of the secret.
    """
    from spatial_vlm_ros.manipulation.approval.address import address_in

    where = address_in(words)
    link = where.link() if where is not None and sys.stderr.isatty() else None
    say(f"… {words if where is None or link is None else words.replace(where.place, link)}", err=True)


def print_message(resolution: Any, as_json: bool) -> None:
    """Print the answer as text or JSON."""
    if as_json:
        print_json(json.loads(resolution.json))
        return
    from spatial_vlm_ros.output import terminal
    from spatial_vlm_ros.output.json_schema import resolution_from_json

    terminal.resolution(resolution_from_json(json.loads(resolution.json)))
