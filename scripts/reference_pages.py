# SPDX-License-Identifier: Apache-2.0
"""Generate pages of the Reference: commands, statuses, JSON fields, interfaces, and lists of public Python names.

Names are read from sources, not by import, so that pages are the same if torch or ROS is not installed.
"""

from __future__ import annotations

import ast
import functools
import inspect
import itertools
import re
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click

from scripts.markdown import item, page, wrapped
from spatial_vlm_ros.cli.main import main
from spatial_vlm_ros.launcher.enclaves import KINDS, TABLE
from spatial_vlm_ros.output.json_schema import json_schema
from spatial_vlm_ros.types import Status
from spatial_vlm_ros.types.status import ANSWERS

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = "spatial_vlm_ros"
SCHEMAS = ("query", "resolution", "comparison")

MADE = "This page is generated from the code by `make docs`."


def reference_pages() -> dict[str, str]:
    """Path, from the repository's root, and content of each page."""
    return {
        "docs/generated/cli.md": cli_page(),
        "docs/generated/json_fields.md": json_page(),
        "docs/generated/interfaces.md": interface_page(),
        "docs/generated/node_interfaces.md": nodes_page(),
        **api_pages(),
    }


def cli_page() -> str:
    """Document every command with its arguments and options."""
    top = click.Context(main, info_name="spatial-vlm")
    blocks = [
        f"{MADE} `spatial-vlm COMMAND --help` prints the same.",
        wrapped(
            """
            Exit codes: 0 answered, 3 refused with a status, 1 failed, 2 wrong usage. `evaluate` ends with 3 when
            a run is worse than its baseline.
            """
        ),
        *help_text(main.help),
    ]
    for verb in main.list_commands(top):
        command = main.get_command(top, verb)
        assert command is not None  # noqa: S101 - it is listed
        blocks += command_blocks(command, click.Context(command, info_name=verb, parent=top), 2)
    return page("Command line", *blocks)


def command_blocks(command: click.Command, context: click.Context, level: int) -> Iterator[str]:
    """The section of a command, then those of its subcommands."""
    yield f"{'#' * level} {context.command_path}"
    yield from help_text(command.help)
    usage = " ".join([context.command_path, *command.collect_usage_pieces(context)])
    yield f"```text\n{usage}\n```"
    options = [item(option_text(option)) for option in command.params if isinstance(option, click.Option)]
    if options:
        yield "\n".join(options)
    if isinstance(command, click.Group):
        for name in command.list_commands(context):
            below = command.get_command(context, name)
            if below is not None:
                yield from command_blocks(below, click.Context(below, info_name=name, parent=context), level + 1)


def help_text(text: str | None) -> Iterator[str]:
    """Paragraphs of a help text; text that click must not rewrap (marked by a backspace) becomes code."""
    for paragraph in inspect.cleandoc(text or "").split("\n\n"):
        lines = paragraph.splitlines()
        if lines and lines[0].strip() == "\b":
            title, *rest = [*lines[1:], ""]
            yield title
            yield "```bash\n" + textwrap.dedent("\n".join(rest)).strip() + "\n```"
        elif lines:
            yield wrapped(escaped(" ".join(lines)))


def option_text(option: click.Option) -> str:
    """Describe an option in words."""
    value = ""
    if not option.is_flag:
        kind = option.type
        value = "|".join(map(str, kind.choices)) if isinstance(kind, click.Choice) else kind.name.split()[0].upper()
        value = f" {option.metavar or value}"
    names = " / ".join(f"`{name}{value}`" for name in [*option.opts, *option.secondary_opts])
    facts = []
    if option.required:
        facts.append("required")
    if option.multiple and "repeated" not in (option.help or ""):
        facts.append("may be repeated")
    if option.show_default and option.default not in (None, ()):
        default = option.default
        if option.secondary_opts:
            default = (option.opts if default else option.secondary_opts)[0]
        facts.append(f"default: `{str(default).lower() if isinstance(default, bool) else default}`")
    remark = f" ({', '.join(facts)})" if facts else ""
    return f"{names}: {escaped(option.help or '')}{remark}"


def escaped(text: str) -> str:
    """Escape plain text for Markdown; option names and text between backticks become code."""
    parts = re.split(r"(`[^`]+`|(?<![\w-])--[a-z][\w-]*)", text)
    parts[::2] = (re.sub(r"([\\*_<>\[\]])", r"\\\1", part) for part in parts[::2])
    parts[1::2] = (f"`{part.strip('`')}`" for part in parts[1::2])
    return "".join(parts)


def status_page() -> str:
    """Document every status, in groups of ten by number."""
    names = {0: "Answers", 1: "Input", 3: "Scene", 5: "Model", 6: "Request", 7: "Acting", 9: "Fault of this package"}
    enum = definition(f"{PACKAGE}.types", "Status")
    assert isinstance(enum, ast.ClassDef)  # noqa: S101 - what the page is about
    says = attribute_docs(enum.body)
    blocks = [
        "This page is generated from the code by `make generate`.",
        wrapped(
            """
            Every request ends with one status. It is the same in Python (`Status`), in JSON (`status` is the
            name, `code` the number) and in ROS (`Status.msg`). New statuses are added; a name or number is never
            changed. A refusal never has a pose. Commands exit with 0 for an answer and with 3 for a refusal.
            """
        ),
        wrapped(
            """
            [When it refuses](tutorials/refusals.md) has examples and what to check;
            [Conventions](conventions.md#statuses) says which refusal comes first.
            """
        ),
    ]
    for ten, name in names.items():
        members = [member for member in Status if member.code // 10 == ten]
        blocks.append(f"## {name}")
        blocks.append("\n".join(item(f"`{member.value}` ({member.code}): {says[member.value]}") for member in members))
    assert {member for member in Status if member.code < 10} == ANSWERS  # noqa: S101 - what the page says
    return page("Statuses", *blocks)


def attribute_docs(body: list[ast.stmt]) -> dict[str, str]:
    """The texts below the assignments of a class or a module."""
    says = {}
    for first, second in itertools.pairwise(body):
        if isinstance(first, ast.Assign | ast.AnnAssign) and isinstance(second, ast.Expr):
            name = first.targets[0] if isinstance(first, ast.Assign) else first.target
            says[ast.unparse(name)] = inspect.cleandoc(ast.literal_eval(second.value))
    return says


def json_page() -> str:
    """Document every JSON object of the commands and the action, field by field."""
    forms: dict[str, dict[str, Any]] = {}
    files, tops = [], []
    for name in SCHEMAS:
        schema = json_schema(name)
        forms |= schema["$defs"]
        file = f"{name}.v{schema['version']}.json"
        top = schema["$ref"].rsplit("/", 1)[1]
        tops.append(top)
        files.append(item(f"[`{file}`](../schema/{file}): the schema of a {name}, which is a [{top}](#{top.lower()})."))
    blocks = [
        f"{MADE} `spatial-vlm schema NAME` prints the JSON Schema.",
        wrapped(
            """
            `parse` prints queries, `resolve`, `ask` and `replay` print resolutions, `compare` prints comparisons.
            The action `resolve` has the resolution in `resolution.json`. Fields are added; a field is never
            renamed or removed in a version.
            """
        ),
        "\n".join(files),
    ]
    for name in dict.fromkeys([*tops, *sorted(forms)]):
        blocks += json_blocks(name, forms[name])
    return page("JSON fields", *blocks)


def json_blocks(name: str, form: dict[str, Any]) -> Iterator[str]:
    """The section of one object, or of one set of names."""
    text, _, arguments = inspect.cleandoc(form.get("description", "")).partition("Args:")
    says = dict(re.findall(r"^ {4}(\w+): (.+(?:\n {8}.+)*)", arguments, re.M))
    yield f"## {name}"
    yield "\n\n".join(wrapped(part) for part in text.strip().split("\n\n"))
    if "enum" in form:
        yield item("One of " + ", ".join(f"`{value}`" for value in form["enum"]) + ".")
    if "properties" in form:
        yield "\n".join(
            item(f"`{field}` ({json_type(value)}){f': {says[field]}' if field in says else ''}")
            for field, value in form["properties"].items()
        )


def json_type(form: dict[str, Any]) -> str:
    """Describe a type of a schema in words."""
    if "$ref" in form:
        name = form["$ref"].rsplit("/", 1)[1]
        return f"[{name}](#{name.lower()})"
    if "anyOf" in form:
        return " or ".join(json_type(choice) for choice in form["anyOf"])
    if "enum" in form:
        return " or ".join(f"`{value}`" for value in form["enum"])
    kind = form.get("type", "any value")
    if kind == "array":
        parts = form.get("prefixItems", [])
        if parts:
            return f"{len(parts)} × {json_type(parts[0])}"
        return f"list of {json_type(form['items'])}" if form.get("items") else "list"
    if kind == "object" and isinstance(form.get("additionalProperties"), dict):
        return f"object of {json_type(form['additionalProperties'])}"
    return str(kind)


def interface_page() -> str:
    """Show the interface files."""
    blocks = [
        MADE,
        wrapped(
            """
            The interfaces of the ROS 2 package `spatial_vlm_interfaces`, as in its sources (`interfaces/`). [ROS
            2 interface](../ros_api.md) and [Interfaces of the nodes](node_interfaces.md) say who sends what.
            """
        ),
    ]
    for title, folder in (("Actions", "action"), ("Services", "srv"), ("Messages", "msg")):
        blocks.append(f"## {title}")
        for path in sorted((ROOT / "interfaces" / folder).iterdir()):
            blocks += [f"### {path.name}", f"```text\n{path.read_text(encoding='utf-8').strip()}\n```"]
    return page("Messages, services and actions", *blocks)


def nodes_page() -> str:
    """Show the table of every node's interfaces."""
    intro = wrapped(
        """
        This page is generated from `spatial_vlm_ros/launcher/interfaces.toml` by `make docs`; a test compares it with
        running nodes. Names are relative to the namespace of the node. A name in braces is a parameter, and `a + b`
        is b beside a.
        """
    )
    blocks = [intro]
    for node, entry in TABLE.items():
        parts = ", ".join(f"[{part}](#{part})" for part in entry.get("is", ()))
        beside = ", ".join(f"`{name}`" for name in entry.get("beside", ()))
        also = f"Also what {parts} has{f'; in the same process: {beside}' if beside else ''}." if parts else ""
        told = []
        for kind, (word, _) in KINDS.items():
            for name, form, what, *conditions in entry.get(kind, ()):
                when = f" ({'; '.join(conditions)})" if conditions else ""
                told.append(item(f"{kind} {word} `{name}`{when}, {re.sub('/(msg|srv|action)/', '/', form)}: {what}"))
        blocks += [f"## {node}", wrapped(also), "\n".join(told)]
    return page("Interfaces of the nodes", *blocks)


THEMES = {
    "core": "Core",
    "types": "Types",
    "errors": "Errors",
    "language": "Language",
    "perception": "Perception",
    "manipulation": "Manipulation",
    "recording": "Frames and bags",
    "output": "Output",
    "sim": "Simulator",
    "vlm": "Models from the inside",
}
"""Pages of the Python API, by folder of the package; folders without a page are on Core."""


def api_pages() -> dict[str, str]:
    """One page for each theme, and a list of them."""
    pages: dict[str, list[tuple[str, str]]] = {theme: [] for theme in THEMES}
    for home, names in public_names().items():
        theme = [*home.split("."), "core"][1]
        pages[theme if theme in THEMES else "core"] += [(home, name) for name in names]
    made: dict[str, str] = {}
    listed = []
    for theme, members in pages.items():
        if members:
            inside = ", ".join(f"`{name}`" for _, name in members)
            listed.append(item(f"[{THEMES[theme]}](api/{theme}.md): {inside}."))
            made[f"docs/generated/api/{theme}.md"] = api_page(THEMES[theme], members)
    intro = wrapped(
        """
        The public names of the package: those that `import spatial_vlm_ros` gives, the types and errors that they
        use, and what these pages import. Everything else is internal and may change without notice.
        """
    )
    made["docs/generated/python_api.md"] = page("Python API", MADE, intro, "\n".join(listed))
    return made


def api_page(title: str, members: list[tuple[str, str]]) -> str:
    """A page on which Sphinx inserts signatures and docstrings."""
    blocks = ["`make docs` makes this page and puts signatures and docstrings on it."]
    for home in dict.fromkeys(home for home, _ in members):
        names = [name for other, name in members if other == home]
        directives = "\n".join(directive(home, name) for name in names)
        blocks += [f"## `{home}`", f"```{{eval-rst}}\n{directives.rstrip()}\n```"]
    return page(title, *blocks)


def directive(home: str, name: str) -> str:
    """The Sphinx directive that shows a name."""
    node = definition(home, name)
    if isinstance(node, ast.FunctionDef):
        return f".. autofunction:: {home}.{name}"
    if isinstance(node, ast.ClassDef):
        every = "\n   :undoc-members:" if "enum.Enum" in map(ast.unparse, node.bases) else ""
        return f".. autoclass:: {home}.{name}\n   :members:{every}"
    says = attribute_docs(module(source(defined_in(home, name))).body).get(name, "")
    return f".. py:data:: {home}.{name}" + (f"\n\n{textwrap.indent(says, '   ')}\n" if says else "")


def public_names() -> dict[str, list[str]]:
    """Public names by the module that they are imported from, without duplicates."""
    wanted = [(home, name) for home in (PACKAGE, f"{PACKAGE}.types", f"{PACKAGE}.language") for name in exported(home)]
    wanted += [
        (f"{PACKAGE}.errors", node.name)
        for node in module(source(f"{PACKAGE}.errors")).body
        if isinstance(node, ast.ClassDef) and not node.name.startswith("_")
    ]
    for path in (ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))):
        wanted += [(home, name) for home, name in mentioned(path.read_text(encoding="utf-8")) if definition(home, name)]
    names: dict[str, list[str]] = {}
    placed = set()
    for home, name in wanted:
        what = definition(home, name) or name
        if what not in placed:
            names.setdefault(home, []).append(name)
        placed.add(what)
    return names


def mentioned(text: str) -> Iterator[tuple[str, str]]:
    """Modules and names of the package that a text imports, or mentions with their module."""
    for home, several, one in re.findall(r"from (spatial_vlm_ros[\w.]*) import (?:\(([^)]*)\)|([^#\n]*))", text):
        for name in re.findall(r"(?:^|,)\s*(\w+)", one or several):
            yield home, name
    for home, name in re.findall(r"`(spatial_vlm_ros[\w.]*)\.(\w+)`", text):
        yield home, name


def exported(home: str) -> list[str]:
    """The `__all__` of a module."""
    for node in module(source(home)).body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__":
            return list(ast.literal_eval(node.value))
    return []


def definition(home: str, name: str) -> ast.stmt | None:
    """The class or function of this name in a module."""
    home = defined_in(home, name)
    if not source(home).is_file():
        return None
    kinds = ast.ClassDef, ast.FunctionDef
    return next((node for node in module(source(home)).body if isinstance(node, kinds) and node.name == name), None)


def defined_in(home: str, name: str) -> str:
    """The module that defines a name; another module may only import it."""
    if source(home).is_file() and name in (imported := _imported(home)):
        return defined_in(imported[name] or home, name)
    return home


@functools.cache
def _imported(home: str) -> dict[str, str | None]:
    """Names that a module imports, and the module of each."""
    found: dict[str, str | None] = {}
    for node in ast.walk(module(source(home))):
        if isinstance(node, ast.ImportFrom):
            for alias in node.names:
                found.setdefault(alias.name, node.module)
    return found


def source(home: str) -> Path:
    """Path of a module's source file."""
    path = ROOT.joinpath(*home.split("."))
    return path / "__init__.py" if path.is_dir() else path.with_suffix(".py")


@functools.cache
def module(path: Path) -> ast.Module:
    """Parse a file, once."""
    return ast.parse(path.read_text(encoding="utf-8"))
