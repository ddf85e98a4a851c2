# SPDX-License-Identifier: Apache-2.0
"""Shared parts of the local web pages: access, slow clients, headers, forms, a server on a thread, templates, style.

Does not know what a page shows. The approval page and the labelling page are built on it (ADR 0021, ADR 0013).
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from jinja2 import Environment

_HERE = Path(__file__).resolve().parent
TEMPLATES = _HERE / "templates"
"""Templates that pages extend."""
STATIC: Mapping[str, Path] = MappingProxyType({name: _HERE / "static" / name for name in ("base.css", "icon.svg")})
"""Files that every page serves, by their name below /static/."""
STATIC_KINDS: Mapping[str, str] = MappingProxyType(
    {".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}
)
"""Media type of a static file by the ending of its name."""


def templates_of(folder: Path) -> Environment:
    """The templates of a folder and those that pages extend: values are escaped, and a missing one is an error."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    loader = FileSystemLoader([folder, TEMPLATES])
    return Environment(loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
