# SPDX-License-Identifier: Apache-2.0
"""Relations of installed packages: found by entry point, loaded at the first sentence, and refused if they clash."""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from importlib.machinery import PathFinder
from typing import TYPE_CHECKING, NamedTuple, TypeVar

from spatial_vlm_ros.errors import PlugInError
from spatial_vlm_ros.types import Relation

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

GROUP = "spatial_vlm_ros.relations"
"""Entry-point group: the relation's name, its words joined by "-" → a `Relation`."""

REPAIR = "fix the package, or uninstall it"
"""Repair for most errors of a package."""

_METADATA = (".dist-info", "egg-info")  # ends of folder names: installed, in development, and inside an egg
_Value = TypeVar("_Value")


class PlugIn(NamedTuple):
    """Content of an entry point.

    Args:
        relation: what was loaded, or None.
        error: why it cannot be used, or None.
    """

    name: str
    source: str
    relation: Relation | None
    error: PlugInError | None = None

    def refused(self, reason: str, repair: str = REPAIR) -> PlugIn:
        """A copy that is refused for a reason."""
        return self._replace(error=PlugInError(self.name, self.source, reason, repair))


class Extended(Mapping[str, _Value]):
    """A table of the package, extended by installed packages.

    Args:
        own: the package's own entries; nothing replaces them, and looking one up loads nothing.
    """

    def __init__(self, own: Mapping[str, _Value], others: Callable[[], Mapping[str, _Value]]) -> None:
        self._own, self._others = own, others

    def __getitem__(self, name: str) -> _Value:
        return self._own[name] if name in self._own else self._others()[name]

    def __contains__(self, name: object) -> bool:
        return name in self._own or name in self._others()

    def __iter__(self) -> Iterator[str]:
        yield from self._own
        yield from self._others()

    def __len__(self) -> int:
        return len(self._own) + len(self._others())


def installed() -> list[PlugIn]:
    """The relations of all installed packages, loaded, sorted by name and package."""
    if not _any_installed():
        return []
    from importlib.metadata import entry_points

    try:
        found = sorted(entry_points(group=GROUP), key=lambda entry: (entry.name, entry.value))
    except Exception as error:  # one package's damaged metadata
        return [PlugIn("", "an installed package", None).refused(f"the entry points cannot be read: {_words(error)}")]
    return [_load(entry) for entry in found]


def judged(
    plug_ins: Iterable[PlugIn],
    phrases_of: Callable[[Relation], Iterable[str]],
    taken: Callable[[str], str | None],
) -> list[PlugIn]:
    """Refuse the plug-ins whose words are already taken.

    If two plug-ins want the same words, both are refused: the meaning would be unclear, and the order of packages must
    not decide where an arm moves.

    Args:
        taken: returns the current meaning of a phrase, in words; None if it is free.
    """
    found: list[tuple[PlugIn, list[str]]] = []
    wanted: dict[str, list[PlugIn]] = {}
    for plug_in in plug_ins:
        phrases = [] if plug_in.relation is None else sorted(phrases_of(plug_in.relation))
        clash = next(((phrase, taken(phrase)) for phrase in phrases if taken(phrase) is not None), None)
        if clash is not None:
            reason = f"{clash[0]!r} is already {clash[1]}"
            plug_in, phrases = plug_in.refused(reason, "use other words in the package"), []
        found.append((plug_in, phrases))
        for phrase in phrases:
            wanted.setdefault(phrase, []).append(plug_in)
    return [_uncontested(plug_in, phrases, wanted) for plug_in, phrases in found]


def _uncontested(plug_in: PlugIn, phrases: Iterable[str], wanted: Mapping[str, list[PlugIn]]) -> PlugIn:
    """A plug-in, refused if another one wants one of its phrases."""
    for phrase in phrases:
        rival = next((other for other in wanted[phrase] if other is not plug_in), None)
        if rival is not None:
            reason = f"{phrase!r} is also said for relation {rival.name!r} of {rival.source}"
            return plug_in.refused(reason, "uninstall one of the two packages")
    return plug_in


def _load(entry: EntryPoint) -> PlugIn:
    """Load one plug-in; a failure affects only this relation."""
    name = " ".join(entry.name.replace("_", " ").replace("-", " ").lower().split())
    try:
        package = "an installed package" if entry.dist is None else f"{entry.dist.name} {entry.dist.version}"
    except Exception:  # a package without its own metadata
        package = "an installed package"
    plug_in = PlugIn(name, f"{package} ({entry.value})", None)
    try:
        relation = entry.load()
    except (Exception, SystemExit) as error:
        return plug_in.refused(f"it cannot be loaded: {_words(error)}")
    if not isinstance(relation, Relation):
        return plug_in.refused(f"its entry point is a {type(relation).__name__}, not a Relation")
    if relation.name.replace("-", " ") != name:
        return plug_in.refused(f"its entry point is named {entry.name!r}, and the relation {relation.name!r}")
    return PlugIn(relation.name, plug_in.source, relation)


def _any_installed() -> bool:
    """True if an installed package may have relations.

    `importlib.metadata` takes ten times as long to find none, in every process that parses. Only folders are searched
    here; if packages come from any other place, it is asked in any case.
    """
    if any(hasattr(finder, "find_distributions") and finder is not PathFinder for finder in sys.meta_path):
        return True
    group = GROUP.encode()
    for folder in sys.path:
        try:
            with os.scandir(folder or ".") as entries:
                places = [each.path for each in entries if each.name.lower().endswith(_METADATA)]
        except NotADirectoryError:  # an archive
            return True
        except OSError:
            continue
        for place in places:
            try:
                with io.FileIO(f"{place}/entry_points.txt") as file:
                    if group in file.readall():
                        return True
            except OSError:  # it has no entry points
                continue
    return False


def _words(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}"
