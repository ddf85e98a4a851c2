# SPDX-License-Identifier: Apache-2.0
"""The documentation site: `make docs` builds it into out/site (docs/adr/0003).

The pages are plain Markdown that reads on a Git host, too. Two rules make a site of them. The links that begin a list
item or a table row on a page of CONTENTS are the navigation. A page of ELSEWHERE shows a file of another folder.
The pages of docs/generated are written before Sphinx looks for pages.
"""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path
from typing import Any

DOCS = Path(__file__).resolve().parent
ROOT = DOCS.parent
sys.path.insert(0, str(ROOT))

from scripts.generate import site_pages  # noqa: E402

CONTENTS = (
    "index",
    "get_started",
    "on_a_robot",
    "concepts",
    "reference",
    "research",
    "generated/python_api",
    "adr/README",
)
"""Pages whose lists and tables of links are the navigation, in their order, by heading."""
ELSEWHERE = {
    "contributing": "CONTRIBUTING.md",
    "research_code": "research/README.md",
    "controlled_english": "spatial_vlm_ros/language/controlled_english.md",
    "compact_model_card": "models/compact/README.md",
}
"""Pages that hold a link to a file of another folder; the site shows the file itself there."""

project = "spatial_vlm_ros"
author = "spatial_vlm_ros maintainers"
copyright = author  # noqa: A001 - Sphinx's name
release = version = re.findall(r'^__version__ = "(.+)"', (ROOT / project / "__init__.py").read_text("utf-8"), re.M)[0]
extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
source_suffix = {".md": "markdown"}
myst_heading_anchors = 6
default_role = "code"  # docstrings quote code by one backtick
smartquotes = False  # option names keep their dashes

autodoc_member_order = "bysource"
autodoc_typehints = "description"
autodoc_typehints_description_target = "documented"
autodoc_type_aliases = {name: name for name in ("Depth", "Floats", "Mask", "Points", "Rgb", "Vector3", "Quaternion")}
autodoc_mock_imports = [  # heavy, or not on every machine
    "PIL", "coal", "daqp", "mujoco", "ompl", "onnxruntime", "pinocchio", "ray", "safetensors", "torch", "transformers",
]  # fmt: skip
napoleon_numpy_docstring = False

html_theme = "pydata_sphinx_theme"
html_title = project
html_show_sourcelink = False
html_copy_source = False
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_theme_options: dict[str, Any] = {
    "logo": {"text": project},
    "navbar_align": "left",
    "navbar_end": ["theme-switcher"],
    "secondary_sidebar_items": ["page-toc"],
    "footer_start": ["copyright"],
    "footer_end": [],
    "show_toc_level": 2,
    "navigation_with_keys": False,
    "pygments_light_style": "tango",
    "pygments_dark_style": "github-dark",
}

_LISTED = re.compile(r"^(?:\| |- |\d+\. )\[[^\]]+\]\((?P<page>[^):#]+)\.md\)")
_HEADING = re.compile(r"^## +(?P<words>.+)")
_LINK = re.compile(r"(?P<open>\]\()(?P<path>[^)#:\s]+)(?P<rest>(?:#[^)]*)?\))")


def navigation(page: str) -> list[tuple[str, list[str]]]:
    """Headings of a page of CONTENTS, each with the pages that are listed below it, relative to that page."""
    sections: list[tuple[str, list[str]]] = [("", [])]
    path = f"docs/{page}.md"
    for line in (site_pages().get(path) or (ROOT / path).read_text(encoding="utf-8")).splitlines():
        if heading := _HEADING.match(line):
            sections.append((heading["words"], []))
        elif (entry := _LISTED.match(line)) and entry["page"] not in sections[-1][1]:
            sections[-1][1].append(entry["page"])
    return [(heading, pages) for heading, pages in sections if pages]


def shown(text: str, folder: Path) -> str:
    """A Markdown text of a folder as it reads among the pages: its links lead to the same files from there."""
    pages = {ROOT / path: f"{page}.md" for page, path in ELSEWHERE.items()}

    def moved(link: re.Match[str]) -> str:
        target = (folder / link["path"]).resolve()
        path = pages.get(target) or os.path.relpath(target, DOCS)
        return f"{link['open']}{path}{link['rest']}"

    return _LINK.sub(moved, text)


def read_page(_: Any, page: str, source: list[str]) -> None:
    """Put the text of another folder on its page, and the navigation below a page of contents."""
    path = ROOT / ELSEWHERE.get(page, f"docs/{page}.md")
    if page in ELSEWHERE:
        source[0] = path.read_text(encoding="utf-8")
    if page in ELSEWHERE or path.parent == DOCS:
        source[0] = shown(source[0], path.parent)
    if page in CONTENTS:
        for heading, pages in navigation(page):
            lines = [":hidden:", ":maxdepth: 1", *([f":caption: {heading}"] if heading else []), "", *pages]
            source[0] += "\n".join(["", "```{toctree}", *lines, "```", ""])


def write_pages(_: Any) -> None:
    """Write the pages that are not kept."""
    for name, text in site_pages().items():
        (ROOT / name).parent.mkdir(parents=True, exist_ok=True)
        (ROOT / name).write_text(text, encoding="utf-8")


def set_dashes(_: Any, page: Any) -> None:
    """Give the dashes that Sphinx puts before the text of a parameter the form of dashes."""
    from docutils import nodes

    for text in list(page.findall(nodes.Text)):
        if text == " -- ":
            text.parent.replace(text, nodes.Text(" – "))


def setup(app: Any) -> None:
    """Sphinx calls this."""
    app.connect("builder-inited", write_pages)
    app.connect("source-read", read_page)
    app.connect("doctree-read", set_dashes)
