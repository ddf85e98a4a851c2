# SPDX-License-Identifier: Apache-2.0
"""Scenes of ALOHA's objects: equal ones in rows, and some of other colours, sizes, neighbours and contents."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from research.rendered.aloha_speech import (
    BIG,
    CENTRE,
    CLOSE,
    FAR,
    LEFT,
    MIDSIZE,
    RIGHT,
    SMALL,
    Talk,
    spread,
)
from research.rendered.kits import Plan, Planner, sized

TURNS = {"screwdriver": 90.0, "magnifier": 90.0, "can opener": 90.0, "USB stick": 90.0}
"""Turn at which a long object points away from the viewer, degrees; 0 for the others."""
LOOSE = frozenset(
    {"held", "kept", "loose", "moved", "spare"}
    | {f"{name}{i}" for name in ("row", "block", "other") for i in range(12)}
)
"""Names of objects that may roll or slide a little."""
DETECTED = {
    "headphones": ("headphones", "headset"),
    "scissors": ("scissors", "pair of scissors"),
    "letter block": ("letter block", "toy block", "block"),
    "USB stick": ("USB stick", "flash drive"),
    "cutting board": ("cutting board", "wooden board"),
    "monitor stand": ("monitor stand", "small table", "shelf"),
    "caddy": ("caddy", "plastic basket", "organizer"),
    "cube shelf": ("cube shelf", "shelf", "bookcase"),
    "utensil holder": ("utensil holder", "container"),
    "dish rack": ("dish rack", "dish drainer"),
    "flower pot": ("flower pot", "pot"),
    "dresser": ("dresser", "cabinet"),
    "basket": ("basket", "box"),
}
"""Words of detectors, by the label of the kind."""


def plan(p: Planner, ask: Callable[[Talk], None], **camera: float | bool) -> Plan:
    """The scene with a detector's words, one for all objects of a kind."""
    p.relabel(DETECTED)
    return Plan(p.objects, lambda a: ask(Talk(a)), loose=LOOSE, **camera)  # type: ignore[arg-type]


def along(p: Planner, kind: str) -> float:
    """A turn at which an object of the kind points away from the viewer, nearly."""
    return TURNS.get(kind, 0.0) + float(p.rng.uniform(-14, 14))


def bench(n: int) -> Callable[[Planner], Plan]:
    """N equal tools side by side; behind them what can hold one."""

    def recipe(p: Planner) -> Plan:
        kind = p.pick(("screwdriver", "magnifier", "marker", "can opener", "shears", "bottle"))
        colour = p.tint(kind)
        for i, x in enumerate(spread(n, 0.15 * (n - 1) / 1.6)):
            p.add(f"row{i}", kind, p.jitter((x, -0.14), 0.015), colour, along(p, kind))
        side = p.sign()
        p.add("holder", p.pick(("board", "plate", "bowl")), p.jitter((side * 0.15, 0.23), 0.02), turn=0.0)
        p.extras(2, ("crock", "headset", "flower pot", "mug"))

        def ask(v: Talk) -> None:
            names, word, by = [f"row{i}" for i in range(n)], v.word("row0"), v.word("holder")
            order = v.a.judge.row(names, 0)
            if order is None:
                return
            one = word if word not in ("scissors", "shears") else f"pair of {word}"
            v.take(order[0], v.a.one(LEFT).format(one), "1 left")
            v.take(order[-1], v.a.one(RIGHT).format(one), "1 right")
            v.ordinal(order, one, 1, "left")
            v.ordinal(order, one, 2, "right")
            if n == 3:
                v.take(order[1], v.a.one(CENTRE).format(one), "1 middle across")
            for name, words, by_kind in ((order[0], LEFT, "1 left"), (order[-1], RIGHT, "1 right")):
                v.into(name, v.a.one(words).format(one), "holder", f"the {by}", by_kind, "5 on plate")
            v.aside(order[-1], v.a.one(RIGHT).format(one), "right of", "holder", f"the {by}", "1 right")
            v.aside(order[0], v.a.one(LEFT).format(one), "left of", "holder", f"the {by}", "1 left")
            v.deny(f"the {one}", "AMBIGUOUS")
            inside = "in" if by == "bowl" else "on"
            v.deny(f"the {one} {inside} the {by}", *v.a.judge.apart(names, "holder"))
            v.deny_put(f"the {one}", "behind", f"the {by}", "AMBIGUOUS")
            v.not_there("behind", names, one, "holder", f"the {by}")
            if kind in ("marker", "bottle", "shears"):
                v.no_such_colour(names, one)
            v.missing()

        return plan(p, ask, low=30, high=60, near=0.85, far=1.3, swing=18)

    return recipe


def column(p: Planner) -> Plan:
    """Three equal objects one behind the other, a laptop at their side."""
    side, kind = p.sign(), p.pick(("mug", "flower pot", "can opener", "bottle", "headset", "bowl"))
    colour = p.tint(kind)
    for i, y in enumerate((-0.24, -0.01, 0.22)):
        p.add(f"row{i}", kind, p.jitter((-side * 0.16 + side * 0.05 * i, y), 0.012), colour)
    p.add("laptop", "laptop", p.jitter((side * 0.28, 0.12), 0.02), turn=float(p.rng.uniform(-12, 12)))
    p.add("moved", p.pick(("sponge", "shears", "block B", "magnifier")), p.jitter((side * 0.22, -0.2), 0.02))
    p.extras(1, ("crock", "plate"))

    def ask(v: Talk) -> None:
        names, word = ["row0", "row1", "row2"], v.word("row0")
        order = v.a.judge.row(names, 1)
        if order is None:
            return
        by, other = v.word("laptop"), v.word("moved")
        v.take(order[0], v.a.one(CLOSE).format(word), "1 front")
        v.take(order[2], v.a.one(FAR).format(word), "1 back")
        v.take(order[1], v.a.one(CENTRE).format(word), "1 middle depth")
        v.aside(order[2], v.a.one(FAR).format(word), "in front of", "laptop", f"the {by}", "1 back")
        for k, words in ((0, CLOSE), (2, FAR)):
            v.near("moved", f"the {other}", order[k], v.a.one(words).format(word))
        place = v.a.judge.between("moved", order[0], (order[2],))
        v.put(
            order[2],
            v.a.one(FAR).format(word),
            "between",
            f"the {other} and {v.a.one(CLOSE).format(word)}",
            place,
            "1 back",
            "5 between",
        )
        v.deny((f"the {word}", f"that {word}"), "AMBIGUOUS")
        v.not_there("behind", ["moved"], other, "laptop", f"the {by}")
        v.not_there("right of" if side > 0 else "left of", names, word, "laptop", f"the {by}")
        v.no_such_colour(names, word)
        v.missing()

    return plan(p, ask, low=34, high=58, near=0.95, far=1.35, aim=0.05, swing=16)


def colours(p: Planner) -> Plan:
    """A red, a blue and a white or yellow object of one kind, two plates, markers of two colours."""
    kind = p.pick(("mug", "bowl", "flower pot", "sponge", "bottle"))
    every = [t for t in ("red", "blue", "white", "green", "yellow", "brown", "pink") if t in p.kit.items[kind].colours]
    tones = [str(t) for t in p.rng.permutation(every)][:3]
    for i, (x, c) in enumerate(zip(spread(len(tones), 0.27), tones, strict=True)):
        p.add(f"row{i}", kind, p.jitter((x, -0.15 + 0.06 * (i % 2)), 0.02), c)
    p.add("plate0", "plate", p.jitter((-0.22, 0.18), 0.02), "white")
    p.add("plate1", "plate", p.jitter((0.18, 0.2), 0.02), "blue")
    p.extras(1, ("shears", "marker", "can opener"))

    def ask(v: Talk) -> None:
        names, word = [f"row{i}" for i in range(len(tones))], v.word("row0")
        for name, c in zip(names, tones, strict=True):
            v.take(name, (f"the {c} {word}", f"the {word}, the {c} one", f"the {word} that is {c}"), "2 colour")
        plate, tone = (("plate0", "white"), ("plate1", "blue"))[int(p.rng.integers(2))]
        v.into(names[0], f"the {tones[0]} {word}", plate, f"the {tone} plate", "2 colour", "5 on plate")
        v.into(names[-1], f"the {tones[-1]} {word}", plate, f"the {tone} plate", "2 colour", "5 on plate")
        v.aside(names[1], f"the {tones[1]} {word}", "behind", names[0], f"the {tones[0]} {word}", "2 colour")
        v.put(
            names[0],
            f"the {tones[0]} {word}",
            "between",
            "the two plates",
            v.a.judge.between("plate0", "plate1", (names[0],)),
            "2 colour",
            "5 between",
        )
        v.no_such_colour(names, word)
        v.deny(f"the {word}", "AMBIGUOUS")
        v.deny("the plate", "AMBIGUOUS")
        v.not_there("behind", [names[0]], f"{tones[0]} {word}", "plate1", "the blue plate")
        v.not_there("right of", [names[0]], f"{tones[0]} {word}", names[1], f"the {tones[1]} {word}")
        v.deny_put(f"the {tones[1]} {word}", "on", "the plate", "AMBIGUOUS")
        v.deny(f"the {tones[0]} {word} on the plate", "RELATION_UNSATISFIED", _off_plates(v, names))
        v.missing()

    return plan(p, ask, low=30, high=58, near=0.9, far=1.3, swing=16)


def _off_plates(v: Talk, names: Sequence[str]) -> bool:
    return all(v.a.judge.far_apart(names, plate) for plate in ("plate0", "plate1"))


def sizes(p: Planner) -> Plan:
    """One kind in three sizes, and what can be put into or beside them."""
    kind = p.pick(("flower pot", "bowl", "mug", "bottle", "sponge"))
    colour, item = p.tint(kind), p.kit.items[kind]
    spots = [(-0.3, 0.1), (0.0, 0.16), (0.3, 0.08)]
    order = [int(i) for i in p.rng.permutation(3)]
    for name, factor, k in zip(("little", "medium", "great"), (0.7, 1.0, 1.38), order, strict=True):
        p.add(name, sized(item, factor), p.jitter(spots[k], 0.015), colour, 0.0)
    p.add("moved", p.pick(("block F", "USB stick", "marker")), p.jitter((0.12, -0.2), 0.03))
    p.add("holder", p.pick(("plate", "board")), p.jitter((-0.24, -0.22), 0.02), turn=0.0)
    p.extras(1, ("shears", "headset", "crock"))

    def ask(v: Talk) -> None:
        word, other, by = v.word("great"), v.word("moved"), v.word("holder")
        v.take("great", v.a.one(BIG).format(word), "2 size")
        v.take("little", v.a.one(SMALL).format(word), "2 size")
        v.take("medium", v.a.one(MIDSIZE).format(word), "2 size")
        if v.a.objects["great"].item.rooms:
            for name, words in (("great", BIG), ("medium", MIDSIZE)):
                v.into("moved", f"the {other}", name, v.a.one(words).format(word), "2 size", "5 in bowl")
        v.into("little", v.a.one(SMALL).format(word), "holder", f"the {by}", "2 size", "5 on plate")
        v.aside("moved", f"the {other}", "in front of", "great", v.a.one(BIG).format(word), "2 size")
        v.near("moved", f"the {other}", "little", v.a.one(SMALL).format(word), "2 size")
        v.deny(f"the {word}", "AMBIGUOUS")
        v.deny_put(f"the {other}", "next to", f"the {word}", "AMBIGUOUS")
        v.deny(f"the {word} on the {by}", *v.a.judge.apart(["little", "medium", "great"], "holder"))
        v.not_there("behind", ["moved"], other, "great", v.a.one(BIG).format(word))
        v.no_such_colour(["great"], word)
        v.missing()

    return plan(p, ask, low=26, high=54, near=0.9, far=1.3, aim=0.04, swing=18)


def desk(p: Planner) -> Plan:
    """A laptop with equal objects to its left and right and in front of it."""
    p.add("laptop", "laptop", p.jitter((0.0, 0.12), 0.02), turn=float(p.rng.uniform(-8, 8)))
    kind = p.pick(("mug", "block A", "flower pot", "bottle", "sponge"))
    colour = p.tint(kind)
    for name, spot in (("west", (-0.27, 0.13)), ("east", (0.27, 0.13))):
        p.add(name, kind, p.jitter(spot, 0.015), colour)
    p.add("moved", p.pick(("shears", "USB stick", "marker", "can opener")), p.jitter((0.03, -0.2), 0.02))
    p.add("spare", p.pick(("headset", "bowl", "plate")), p.jitter((-0.35, -0.18), 0.02))
    p.extras(1, ("crock", "screwdriver"))

    def ask(v: Talk) -> None:
        word, by, other, third = v.word("west"), v.word("laptop"), v.word("moved"), v.word("spare")
        left, right = v.side("left of", "west", "laptop", ["east"]), v.side("right of", "east", "laptop", ["west"])
        v.take("west", (f"the {word} to the left of the {by}", f"the {word} on the {by}'s left"), "2 side", when=left)
        v.take(
            "east",
            (f"the {word} to the right of the {by}", f"the {word} on the right of the {by}"),
            "2 side",
            when=right,
        )
        to = (("west", "left", left), ("east", "right", right))[int(p.rng.integers(2))]
        told = f"the {word} that's {to[1]} of the {by}"
        v.aside("moved", f"the {other}", "in front of", to[0], told, "2 side", when=to[2])
        v.aside("moved", f"the {other}", v.a.one(("right of", "left of")), "spare", f"the {third}")
        v.aside("west", f"the {word} left of the {by}", "behind", "spare", f"the {third}", "2 side", when=left)
        v.near("spare", f"the {third}", "moved", f"the {other}")
        v.put(
            "east",
            f"the {word} right of the {by}",
            "between",
            f"the {other} and the {third}",
            v.a.judge.between("moved", "spare", ("east",)),
            "2 side",
            "5 between",
            when=right,
        )
        v.deny(f"the {word}", "AMBIGUOUS")
        v.deny_put(f"the {other}", "in front of", f"the {word}", "AMBIGUOUS")
        names = ["west", "east"]
        v.not_there("behind", ["spare"], third, "laptop", f"the {by}")
        v.not_there("left of", ["moved"], other, "spare", f"the {third}")
        v.no_such_colour(names, word)
        v.missing(f" next to the {by}")

    return plan(p, ask, low=28, high=54, near=0.95, far=1.35, aim=0.05, swing=16)


def beside(p: Planner) -> Plan:
    """Two equal objects, one of them next to a bottle, the other next to a utensil holder."""
    side, kind = p.sign(), p.pick(("block A", "sponge", "marker", "mug", "USB stick"))
    colour = p.tint(kind)
    p.add("first", p.pick(("bottle", "flower pot")), p.jitter((-side * 0.28, 0.05), 0.02))
    p.add("second", p.pick(("crock", "laptop", "headset")), p.jitter((side * 0.25, 0.14), 0.02), turn=0.0)
    p.add("row0", kind, p.jitter((-side * 0.17, 0.04), 0.005), colour, along(p, kind))
    p.add("row1", kind, p.jitter((side * 0.25, -0.07), 0.012), colour, along(p, kind))
    p.add("holder", p.pick(("plate", "bowl")), p.jitter((-side * 0.1, -0.24), 0.02))
    p.extras(2, ("screwdriver", "shears", "can opener"))

    def ask(v: Talk) -> None:
        j, word, a, b, by = v.a.judge, v.word("row0"), v.word("first"), v.word("second"), v.word("holder")
        one, two = j.next_to("row0", "first", ["row1"]), j.next_to("row1", "second", ["row0"])
        v.take("row0", (f"the {word} beside the {a}", f"the {word} right by the {a}"), "2 next to", when=one)
        v.take("row1", (f"the {word} beside the {b}", f"the {word} next to the {b}"), "2 next to", when=two)
        v.into("row0", f"the {word} that's next to the {a}", "holder", f"the {by}", "2 next to", "5 on plate", when=one)
        v.into("row1", f"the {word} that's next to the {b}", "holder", f"the {by}", "2 next to", "5 on plate", when=two)
        v.aside("row1", f"the {word} close to the {b}", "left of", "holder", f"the {by}", "2 next to", when=two)
        v.aside("row0", f"the {word} close to the {a}", "right of", "holder", f"the {by}", "2 next to", when=one)
        v.near("holder", f"the {by}", "second", f"the {b}")
        v.deny(f"the {word}", "AMBIGUOUS")
        v.deny_put(f"the {word}", "inside" if by == "bowl" else "on", f"the {by}", "AMBIGUOUS")
        v.deny(f"the {word} beside the {by}", *j.apart(["row0", "row1"], "holder"))
        v.not_there("left of" if side > 0 else "right of", ["second"], b, "first", f"the {a}")
        v.no_such_colour(["row0", "row1"], word)
        v.missing(f" next to the {a}")

    return plan(p, ask, low=32, high=58, near=0.9, far=1.3, aim=0.04, swing=18)
