# SPDX-License-Identifier: Apache-2.0
"""Shared parts of the local web pages: access control, slow clients, headers, forms, a server on a thread, style.

Does not know what a page shows. The approval page and the labelling page are built on it (ADR 0021, ADR 0013).
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

_HERE = Path(__file__).resolve().parent
TEMPLATES = _HERE / "templates"
"""Templates that pages extend."""
STATIC: Mapping[str, Path] = MappingProxyType({name: _HERE / "static" / name for name in ("base.css", "icon.svg")})
"""Files that every page serves, by their name below /static/."""
STATIC_KINDS: Mapping[str, str] = MappingProxyType(
    {".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}
)
"""Media type of a static file by the ending of its name."""
