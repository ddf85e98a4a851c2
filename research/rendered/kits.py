# SPDX-License-Identifier: Apache-2.0
"""Which objects of a source play which part in the recipes, and scenes as they are planned."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from research.rendered.items import Item, PlacedItem
from research.rendered.sentences import SentenceMaker
from research.rendered.stage import TABLE


@dataclass(frozen=True)
class Kit:
    """Names of items by part.

    Args:
        items: the source's objects.
        equal: of which a scene has several alike.
        small: what goes into bowls and onto plates.
        vessels, flats, tops: what holds it: bowls and cups; plates and boards; boxes.
        bulky: large objects that stand about.
        sized: those that are made larger and smaller.
        other_words: those for which people have another word than the detector.
        tray: the one with halves.
        bins: large boxes.
    """

    items: dict[str, Item]
    equal: tuple[str, ...]
    small: tuple[str, ...]
    vessels: tuple[str, ...]
    flats: tuple[str, ...]
    tops: tuple[str, ...]
    bulky: tuple[str, ...]
    sized: tuple[str, ...]
    other_words: tuple[str, ...]
    tray: str
    bins: tuple[str, ...]


@dataclass
class Plan:
    """A scene to be built, what is asked of it once it has settled, and bounds of the camera.

    Args:
        objects: whoever holds another one comes first.
        ask: adds the cases.
        low, high: pitch, degrees.
        aim: height that the camera looks at, metres.
        near, far: distance, metres.
        swing: greatest turn of the camera to either side, degrees.
        whole: the whole table is to be in sight.
        loose: names of objects that may roll a little.
    """

    objects: list[PlacedItem]
    ask: Callable[[SentenceMaker], None]
    low: float = 24.0
    high: float = 60.0
    aim: float = 0.03
    near: float = 0.85
    far: float = 1.3
    swing: float = 12.0
    whole: bool = False
    loose: frozenset[str] = frozenset()


@dataclass
class Planner:
    """Chance and objects of one scene."""

    kit: Kit
    rng: np.random.Generator
    objects: list[PlacedItem] = field(default_factory=list)

    def pick(self, names: Sequence[str], without: Sequence[str] = ()) -> str:
        """One of the names, of which no word is shared with an object that is there or with `without`."""
        taken = {w for t in self.objects for w in _words(t.item)} | {
            w for n in without for w in _words(self.kit.items[n])
        }
        free = [n for n in names if not taken & _words(self.kit.items[n])]
        if not free:
            raise LookupError("no object is left for this part")
        return free[int(self.rng.integers(len(free)))]

    def tint(self, name: str, without: Sequence[str | None] = ()) -> str | None:
        """A colour that the item can have, other than `without`; None where it has one of its own."""
        free = [c for c in self.kit.items[name].colours if c not in without]
        if self.kit.items[name].colours and not free:
            raise LookupError(f"no colour is left for the {name}")
        return free[int(self.rng.integers(len(free)))] if free else None

    def add(
        self,
        name: str,
        item: str | Item,
        at: tuple[float, float],
        colour: str | None = "any",
        turn: float | None = None,
        **more: object,
    ) -> PlacedItem:
        """Adds an object; a turn that is not given is drawn."""
        kind = self.kit.items[item] if isinstance(item, str) else item
        if colour == "any":
            colour = self.tint(item) if isinstance(item, str) else None
        t = PlacedItem(name, kind, at, float(self.rng.uniform(-180, 180)) if turn is None else turn, colour, **more)  # type: ignore[arg-type]
        self.objects.append(t)
        return t

    def fill(self, count: int, taken: Sequence[tuple[float, float, float]] = ()) -> None:
        """Adds up to `count` other objects where the table is free; taken: circles (x, y, radius) to keep clear."""
        circles = [(*t.at, _reach(t.item)) for t in self.objects if t.on is None] + list(taken)
        for k in range(4 * count):
            try:
                kind = self.pick(self.kit.small + self.kit.bulky + self.kit.equal)
            except LookupError:
                return
            r = _reach(self.kit.items[kind])
            for _ in range(60):
                x = float(self.rng.uniform(-TABLE[0] / 2 + r + 0.04, TABLE[0] / 2 - r - 0.04))
                y = float(self.rng.uniform(-TABLE[1] / 2 + r + 0.04, TABLE[1] / 2 - r - 0.04))
                if all(np.hypot(x - a, y - b) > r + c + 0.05 for a, b, c in circles):
                    self.add(f"other{k}", kind, (x, y))
                    circles.append((x, y, r))
                    count -= 1
                    break
            if count == 0:
                return

    def extras(self, count: int, names: Sequence[str]) -> None:
        """Adds up to `count` of these objects where the table is free."""
        self.kit = replace(self.kit, small=tuple(names), bulky=(), equal=())
        self.fill(count)

    def relabel(self, labels: Mapping[str, Sequence[str]]) -> None:
        """Gives all objects of a kind the same one of the words that detectors have for it, by the kind's label."""
        chosen: dict[str, str] = {}
        for t in self.objects:
            words = labels.get(t.item.label, (t.item.label,))
            t.label = chosen.setdefault(t.item.label, words[int(self.rng.integers(len(words)))])

    def sign(self) -> float:
        """−1 or 1."""
        return float(self.rng.choice((-1.0, 1.0)))

    def jitter(self, at: tuple[float, float], by: float = 0.015) -> tuple[float, float]:
        """A point near another one."""
        dx, dy = self.rng.uniform(-by, by, 2)
        return at[0] + float(dx), at[1] + float(dy)


def sized(item: Item, factor: float) -> Item:
    """The item larger or smaller."""
    rooms = {
        n: replace(
            r,
            hx=r.hx * factor,
            hy=r.hy * factor,
            floor=r.floor * factor,
            height=r.height * factor,
            wide=r.wide * factor,
        )
        for n, r in item.rooms.items()
    }
    return replace(item, mesh=item.mesh.scaled(factor), rooms=rooms)


def _reach(item: Item) -> float:
    return float(np.hypot(*item.mesh.size[:2]) / 2)


def _words(item: Item) -> set[str]:
    """Words by which an object could be meant: the last words of all its names, and of its parts."""
    names = [item.label, *item.said, *(p.label for p in item.parts.values())]
    return {n.split()[-1] for n in names} | (
        {"box", "carton", "bin", "crate"}
        if any(n.split()[-1] in ("box", "carton", "bin", "crate") for n in names)
        else set()
    )


def kit(source: str, items: dict[str, Item]) -> Kit:
    """The parts that a source's objects play; the recipes for Gazebo and ALOHA name their objects themselves."""
    if source in ("gazebo", "aloha"):
        return Kit(items, (), (), (), (), (), (), (), (), "", ())
    if source == "ravens":
        return Kit(
            items,
            equal=("cup", "bowl", "block", "star", "heart", "hexagon"),
            small=("block", "star", "heart", "hexagon", "cross", "flower", "disc", "triangle", "letter A"),
            vessels=("bowl", "cup"),
            flats=("board", "pallet"),
            tops=("carton",),
            bulky=("stand", "carton", "pallet", "cup", "bowl"),
            sized=("block", "cup", "bowl"),
            other_words=("block", "carton", "disc"),
            tray="tray",
            bins=("box",),
        )
    if source == "vima":
        toys = ("toy lion", "toy rhino", "toy cow", "toy robot", "dog figurine")
        return Kit(
            items,
            equal=("cup", "bowl", "alarm clock", "ball", "roll of tape", "toy lion", "block"),
            small=("ball", "block", "roll of tape", "crayon box", "game cartridge", *toys),
            vessels=("bowl", "pan"),
            flats=("plate", "pallet"),
            tops=("soda carton", "cardboard box"),
            bulky=(
                "soda carton",
                "toy bus",
                "toy train",
                "hat",
                "sneaker",
                "towel",
                "alarm clock",
                "computer mouse",
                "hard drive",
                "mallet",
                "toy horse",
                "tablet",
            ),
            sized=("cup", "bowl", "roll of tape", "block"),
            other_words=(
                "pan",
                "mallet",
                "sneaker",
                "towel",
                "computer mouse",
                "toy robot",
                "hat",
                "hard drive",
                "alarm clock",
            ),
            tray="tray",
            bins=("box",),
        )
    return Kit(
        items,
        equal=("teacup", "bowl", "bell pepper"),
        small=("bell pepper", "red pepper", "teacup", "bowl", "sugar bowl"),
        vessels=("bowl",),
        flats=("plate", "dinner plate", "saucer", "board"),
        tops=("stool",),
        bulky=("teapot", "stool", "board", "saucer", "dinner plate", "sugar bowl", "hutch", "teacup"),
        sized=("teacup", "bowl", "bell pepper"),
        other_words=("teacup", "bell pepper", "crate", "board"),
        tray="board",
        bins=("crate",),
    )
