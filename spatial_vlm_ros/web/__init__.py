# SPDX-License-Identifier: Apache-2.0
"""What local pages share: who may use one, slow clients, headers, forms, a server on a thread, looks.

Knows nothing of what a page shows. The page of approvals and the page of labels are built on it (ADR 0021, ADR 0049).
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
