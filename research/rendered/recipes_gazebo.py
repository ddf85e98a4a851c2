# SPDX-License-Identifier: Apache-2.0
"""Scenes of Gazebo's objects: equal ones, and those of several colours, sizes and neighbours."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from research.rendered.gazebo_speech import BACK, FAR_LEFT, FAR_RIGHT, FRONT, LABELS, MIDDLE, Voice
from research.rendered.items import PlacedItem
from research.rendered.kits import Plan, Planner, sized

ROWS = ("can", "cup", "cone", "gear", "cricket ball", "tin", "hydrant")
LOOSE = frozenset({"held", "loose", "moved", *(f"row{i}" for i in range(5))})
"""Names of objects that may be balls."""


def plan(p: Planner, ask: Callable[[Voice], None], **camera: float | bool) -> Plan:
    """The scene with the detector's words, whose cases a Voice adds."""
    p.relabel(LABELS)
    return Plan(p.objects, lambda a: ask(Voice(a)), loose=LOOSE, **camera)  # type: ignore[arg-type]


def row(p: Planner, spots: Sequence[tuple[float, float]], kinds: Sequence[str] = ROWS) -> list[PlacedItem]:
    """Objects of one kind and colour, near the spots, turned much alike."""
    kind = p.pick(kinds)
    colour, turn = p.tint(kind), float(p.rng.uniform(-40, 40))
    return [
        p.add(f"row{i}", kind, p.jitter(s, 0.012), colour, turn + float(p.rng.uniform(-12, 12)))
        for i, s in enumerate(spots)
    ]


def lineup(n: int) -> Callable[[Planner], Plan]:
    """N equal objects in an arc, and something that one of them can be put on."""

    def recipe(p: Planner) -> Plan:
        bend = 0.05 * p.sign()
        xs = np.linspace(-0.38, 0.38, n)
        equal = row(p, [(float(x), 0.02 + bend * float(np.cos(4 * x))) for x in xs])
        p.add("holder", p.pick(("plate", "pallet", "mat", "book")), p.jitter((0.2 * p.sign(), -0.22), 0.03), turn=0.0)
        p.extras(2, ("barrel", "tote", "camera", "trash can", "ambulance"))

        def ask(v: Voice) -> None:
            names, word = [t.name for t in equal], v.word("row0")
            order = v.a.judge.row(names, 0)
            if order is None:
                return
            by = v.word("holder")
            v.take(order[0], v.a.one(FAR_LEFT).format(word), "1 left")
            v.take(order[-1], v.a.one(FAR_RIGHT).format(word), "1 right")
            v.ordinal(order, word, int(p.rng.integers(1, 3)), "left")
            v.ordinal(order, word, 1, "right")
            v.into(order[-1], f"the rightmost {word}", "holder", f"the {by}", "1 right", "5 on plate")
            if n == 5:
                v.take(order[2], v.a.one(MIDDLE).format(word), "1 middle across")
                v.into(order[2], f"the middle {word}", "holder", f"the {by}", "1 middle across", "5 on plate")
            else:
                v.into(order[0], f"the leftmost {word}", "holder", f"the {by}", "1 left", "5 on plate")
            v.deny(f"the {word}", "AMBIGUOUS")
            v.other_colour(names, word)
            v.deny(f"the {word} on the {by}", *v.a.judge.apart(names, "holder"))
            v.deny_put(f"the {word}", f"the {by}", False, "AMBIGUOUS")

        return plan(p, ask, low=28, high=58, near=0.95, far=1.35, swing=22)

    return recipe


def queue(p: Planner) -> Plan:
    """Three equal objects that recede, straight or aslant; a crate beside them."""
    slant, side = float(p.rng.choice((0.0, 0.16, -0.16))), p.sign()
    equal = row(p, [(-side * 0.12 + slant * k, 0.02 + 0.21 * k) for k in (-1, 0, 1)], (*ROWS, "hatchback_red"))
    p.add("holder", p.pick(("wooden case", "plate", "mat")), p.jitter((side * 0.34, 0.05), 0.02), turn=90.0)
    p.extras(2, ("carton", "drill", "bus", "trash can"))

    def ask(v: Voice) -> None:
        names, word = [t.name for t in equal], v.word("row0")
        order = v.a.judge.row(names, 1)
        if order is None:
            return
        by, inside = v.word("holder"), "wooden" in v.a.objects["holder"].item.label
        middle = "1 middle diagonal" if slant else "1 middle depth"
        v.take(order[0], v.a.one(FRONT).format(word), "1 front")
        v.take(order[2], v.a.one(BACK).format(word), "1 back")
        v.take(order[1], v.a.one(MIDDLE).format(word), middle)
        v.into(
            order[2],
            f"the {word} at the back",
            "holder",
            f"the {by}",
            "1 back",
            "5 in crate" if inside else "5 on plate",
        )
        v.into(
            order[0], f"the nearest {word}", "holder", f"the {by}", "1 front", "5 in crate" if inside else "5 on plate"
        )
        v.aside(order[1], f"the middle {word}", v.a.one(("in front of", "behind")), "holder", f"the {by}", middle)
        v.deny((f"the {word}", f"that {word}"), "AMBIGUOUS")
        v.deny(f"the {word} {'in' if inside else 'on'} the {by}", *v.a.judge.apart(names, "holder"))
        v.missing()

    return plan(p, ask, low=36, high=60, near=0.95, far=1.3, swing=22)


def parking(p: Planner) -> Plan:
    """A red, a blue and a white car among a bus or a fire truck and a cone."""
    spots = [(-0.3, 0.1), (0.04, -0.12), (0.33, 0.02)]
    for i, k in enumerate(p.rng.permutation(("hatchback_red", "hatchback_blue", "hatchback"))):
        p.add(str(k), str(k), p.jitter(spots[i], 0.02), None)
    big = p.pick(("fire_truck", "bus", "ambulance"))
    p.add("big", big, p.jitter((0.08, 0.22), 0.02), None, float(p.rng.uniform(-20, 20)))
    p.add("cone", "cone", p.jitter((-0.28, -0.2), 0.03), None)
    p.add("spare", p.pick(("hydrant", "barrel")), p.jitter((0.4, -0.25), 0.03), None)

    def ask(v: Voice) -> None:
        names, large = ["hatchback_red", "hatchback_blue", "hatchback"], v.word("big")
        tones = {n: v.a.objects[n].tone for n in names}
        one, two, three = (str(n) for n in p.rng.permutation(names))
        word = v.a.one(("car", "toy car"))
        v.take(one, f"the {tones[one]} {word}", "2 colour")
        v.take(two, f"the {word} that is {tones[two]}", "2 colour")
        v.aside(one, f"the {tones[one]} car", v.a.one(("behind", "in front of")), "big", f"the {large}", "2 colour")
        v.aside(
            two,
            f"the {tones[two]} car",
            v.a.one(("left of", "right of")),
            three,
            f"the {tones[three]} one",
            "2 colour",
        )
        v.aside("cone", f"the {v.word('cone')}", v.a.one(("left of", "in front of")), two, f"the {tones[two]} car")
        v.around(
            three,
            f"the {tones[three]} car",
            f"between the cone and the {v.word('spare')}",
            v.a.judge.between("cone", "spare", (three,)),
            "2 colour",
            "5 between",
        )
        v.around("cone", "the cone", f"next to the {large}", v.a.judge.around("big", ("cone",)), "5 next to")
        v.deny((f"the {word}", "the toy car"), "AMBIGUOUS")
        v.deny(f"the green {word}", "NOT_FOUND")
        v.a.refuse("put the cone behind the motorcycle", "NOT_FOUND")
        v.a.refuse(f"could you park the car behind the {large}?", "AMBIGUOUS")
        v.a.refuse(f"set the {v.word('spare')} down to the left of the car", "AMBIGUOUS")

    return plan(p, ask, low=30, high=60, near=0.82, far=1.3, swing=22)


def mats(p: Planner) -> Plan:
    """Three mats in three colours; equal objects on two of them and on the bare table."""
    tones: list[str | None] = []
    for i, at in enumerate(((-0.36, 0.02), (0.0, 0.14), (0.36, -0.02))):
        tones.append(p.tint("mat", tones))
        p.add(f"mat{i}", "mat", p.jitter(at, 0.015), tones[-1], float(p.rng.uniform(-8, 8)), free=False)
    free = int(p.rng.integers(3))
    used = [i for i in range(3) if i != free]
    kind = p.pick(("cup", "can", "tin", "bowl"))
    colour = p.tint(kind, tones)
    for i in used:
        p.add(f"on{i}", kind, (0.0, 0.0), colour, on=(f"mat{i}", "main"))
    p.add("bare", kind, p.jitter((0.0, -0.25), 0.02), colour)
    p.add("moved", p.pick(("small ball", "cricket ball", "gear", "cone", "hatchback")), p.jitter((-0.3, -0.26), 0.03))

    def ask(v: Voice) -> None:
        word, other, by = v.word("bare"), v.word("moved"), v.a.one(("mat", "placemat"))
        held = all(v.a.judge.holds(f"on{i}", f"mat{i}", "main") for i in used)
        held = held and all(v.a.judge.gap("bare", f"mat{i}") > 0.04 for i in range(3))
        for i in used:
            v.take(f"on{i}", f"the {word} on the {tones[i]} {by}", "3 on top", when=held)
        v.into("moved", f"the {other}", f"mat{free}", f"the {tones[free]} {by}", "2 colour", "5 on plate")
        v.then(
            f"on{used[0]}",
            f"the {word} on the {tones[used[0]]} {by}",
            f"on the {tones[free]} one",
            v.a.judge.room(f"mat{free}", "main"),
            "3 on top",
            "5 on plate",
            when=held and v.a.judge.empty(f"mat{free}", "main"),
        )
        v.take("bare", f"the {word} that is not on a {by}", "3 on top", when=held)
        v.aside(
            "bare",
            f"the {word} nearest the front",
            v.a.one(("left of", "right of")),
            "moved",
            f"the {other}",
            "1 front",
            when=v.a.judge.row(("bare", *(f"on{i}" for i in used)), 1) is not None,
        )
        v.deny(f"the {word}", "AMBIGUOUS")
        v.deny_put(f"the {other}", f"the {by}", False, "AMBIGUOUS")
        v.deny(
            f"the {word} on the {tones[free]} {by}",
            "RELATION_UNSATISFIED",
            all(v.a.judge.gap(n, f"mat{free}") > 0.1 for n in ("bare", *(f"on{i}" for i in used))),
        )
        v.deny(f"the {v.a.one(('spoon', 'teapot', 'banana'))} on the {tones[used[1]]} {by}", "NOT_FOUND")

    return plan(p, ask, low=38, high=62, near=0.95, far=1.35, swing=22)


def three_sizes(p: Planner) -> Plan:
    """A small, a middling and a large one of a kind; the largest can carry the others."""
    kind = p.pick(("cube", "bowl", "cone", "cup"))
    colour = p.tint(kind)
    places = [((-0.3, 0.05), (0.02, -0.1), (0.3, 0.12))[int(i)] for i in p.rng.permutation(3)]
    for name, f, at in zip(("small", "medium", "large"), (0.62, 1.0, 1.55), places, strict=True):
        p.add(name, sized(p.kit.items[kind], f), p.jitter(at, 0.02), colour)
    p.add("holder", p.pick(("plate", "mat", "book")), p.jitter((-0.3, -0.23), 0.02), turn=0.0)
    p.extras(2, ("barrel", "tote", "fire_truck", "camera", "pulley"))

    def ask(v: Voice) -> None:
        j, word, by = v.a.judge, v.word("small"), v.word("holder")
        v.take("small", (f"the smallest {word}", f"the tiniest {word}"), "2 size")
        v.take("large", (f"the biggest {word}", f"the largest {word}"), "2 size")
        v.into("small", f"the smallest {word}", "holder", f"the {by}", "2 size", "5 on plate")
        v.aside(
            "small", f"the smallest {word}", v.a.one(("left of", "right of")), "large", f"the biggest {word}", "2 size"
        )
        v.aside("large", f"the largest {word}", v.a.one(("in front of", "behind")), "holder", f"the {by}", "2 size")
        if kind == "cube":
            v.into("small", f"the smallest {word}", "large", f"the largest {word}", "2 size", "5 stack")
        v.deny(f"the {word}", "AMBIGUOUS")
        v.other_colour(("small", "medium", "large"), word)
        v.missing()
        v.deny(f"the smallest {word} on the {by}", *j.apart(("small", "medium", "large"), "holder"))

    return plan(p, ask, low=28, high=55, near=0.82, far=1.25, swing=22)


def neighbours(p: Planner) -> Plan:
    """Two equal objects, one of which stands close to a third."""
    side, kind = p.sign(), p.pick(("can", "cup", "bowl", "tin", "cube", "cone"))
    colour, anchor = p.tint(kind), p.pick(("hydrant", "barrel", "bus", "fire_truck", "trash can"), (kind,))
    a, b = p.kit.items[anchor].mesh.size, p.kit.items[kind].mesh.size
    p.add("anchor", anchor, (-side * 0.25, 0.1), turn=0.0)
    p.add("near", kind, (-side * 0.25, 0.1 - float(a[1] + b[1]) / 2 - 0.04), colour)
    p.add("far", kind, p.jitter((side * 0.32, -0.05), 0.03), colour)
    p.add("third", p.pick(("gear", "cricket ball", "hatchback_red", "pulley", "drill")), p.jitter((0.0, 0.25), 0.02))
    p.extras(1, ("carton", "tote", "camera"))

    def ask(v: Voice) -> None:
        j, word, by, third = v.a.judge, v.word("near"), v.word("anchor"), v.word("third")
        near = j.next_to("near", "anchor", ("far",)) and j.gap("far", "anchor") > 0.3
        beside = v.a.one(("next to", "beside", "right by", "close to"))
        v.take("near", f"the {word} {beside} the {by}", "2 next to", when=near)
        v.take(
            "far",
            (f"the {word} that is not next to the {by}", f"the {word} away from the {by}"),
            "2 next to",
            when=near,
        )
        v.then(
            "near",
            f"the {word} beside the {by}",
            f"behind the {third}",
            j.beside("behind", "third", ("near",)),
            "2 next to",
            "5 behind",
            when=near,
        )
        v.then(
            "near",
            f"the {word} next to the {by}",
            f"to the {'left' if side > 0 else 'right'} of the {third}",
            j.beside("left of" if side > 0 else "right of", "third", ("near",)),
            "2 next to",
            "5 side",
            when=near,
        )
        v.aside("third", f"the {third}", v.a.one(("left of", "right of", "in front of")), "anchor", f"the {by}")
        v.around(
            "third",
            f"the {third}",
            f"near the {word} on the {'right' if side > 0 else 'left'}",
            j.around("far", ("third",)),
            "5 next to",
            when=j.row(("near", "far"), 0) is not None,
        )
        v.deny(f"the {word} next to the {third}", *j.apart(("near", "far"), "third"))
        v.deny(f"the {word}", "AMBIGUOUS")
        v.missing(f" by the {by}")

    return plan(p, ask, low=28, high=58, near=0.82, far=1.25, swing=22)
