# SPDX-License-Identifier: Apache-2.0
"""Scenes about where to put objects, and about halves, compartments and parts of the table."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from research.rendered.items import Item, Room
from research.rendered.judge import Place
from research.rendered.kits import Plan, Planner
from research.rendered.meshes import box, joined
from research.rendered.sentences import IN, ON, SentenceMaker
from research.rendered.sources import tray


def around(p: Planner) -> Plan:
    """Different objects, each alone of its kind; one is put beside, between, on others."""
    spots = ((-0.3, 0.05), (0.0, 0.12), (0.3, 0.02), (-0.1, -0.2), (0.18, -0.22))
    small = p.add("moved", p.pick(p.kit.small), p.jitter(spots[3], 0.02))
    p.add("a", p.pick(p.kit.bulky), p.jitter(spots[0], 0.02), turn=float(p.rng.uniform(-10, 10)))
    p.add("b", p.pick(p.kit.flats + p.kit.vessels), p.jitter(spots[1], 0.02), turn=float(p.rng.uniform(-3, 3)))
    p.add("c", p.pick(p.kit.bulky + p.kit.small), p.jitter(spots[2], 0.02), turn=float(p.rng.uniform(-10, 10)))

    def ask(a: SentenceMaker) -> None:
        word = small.item.word
        for relation in p.rng.permutation(("left of", "right of", "in front of", "behind"))[:3]:
            a.beside("moved", f"the {word}", str(relation), a.one(("a", "b", "c")))
        a.put(
            "moved",
            f"the {word}",
            f"between the {a.noun('a')} and the {a.noun('c')}",
            a.judge.between("a", "c", ("moved",)),
            "5 between",
        )
        a.put(
            "moved",
            f"the {word}",
            f"between the {a.noun('b')} and the {a.noun('c')}",
            a.judge.between("b", "c", ("moved",)),
            "5 between",
        )
        a.put(
            "moved",
            f"the {word}",
            f"{a.one(('next to', 'beside', 'near'))} the {a.noun('c')}",
            a.judge.around("c", ("moved",)),
            "5 next to",
        )
        room = a.objects["b"].item.rooms["main"]
        a.put(
            "moved",
            f"the {word}",
            f"{a.one(IN if room.relation == 'inside' else ON)} the {a.noun('b')}",
            a.judge.room("b", "main"),
            "5 in bowl" if room.relation == "inside" else "5 on plate",
            when=a.judge.empty("b", "main") and a.judge.fits("moved", "b"),
        )
        a.refuse(
            f"put the {word} {a.one(('next to', 'behind', 'to the left of'))} the "
            f"{a.one(('water bottle', 'candle', 'stapler'))}",
            "NOT_FOUND",
        )
        a.refuse_take(f"the {word} on the {a.noun('a')}", *a.judge.apart(("moved",), "a"))

    return Plan(p.objects, ask)


def two_holders(p: Planner) -> Plan:
    """Two equal bowls or plates, one perhaps taken: which of them is meant."""
    kind = p.pick(p.kit.vessels + p.kit.flats)
    colour = p.tint(kind)
    x = 0.22
    p.add("one", kind, p.jitter((-x, 0.08), 0.02), colour, float(p.rng.uniform(-3, 3)))
    p.add("two", kind, p.jitter((x, 0.08), 0.02), colour, float(p.rng.uniform(-3, 3)))
    limit = 0.11 if p.kit.items[kind].rooms["main"].relation == "inside" else 0.15
    fits = [k for k in p.kit.small if max(p.kit.items[k].mesh.size[:2]) < limit]
    moved = p.add("moved", p.pick(fits), p.jitter((0.0, -0.2), 0.04))
    p.fill(2)

    def ask(a: SentenceMaker) -> None:
        word, by = moved.item.word, a.noun("one")
        order = a.judge.row(("one", "two"), 0)
        if order is None:
            return
        room = a.objects["one"].item.rooms["main"]
        to, kind = (IN, "5 in bowl") if room.relation == "inside" else (ON, "5 on plate")
        fits = a.judge.fits("moved", "one")
        a.put(
            "moved",
            f"the {word}",
            f"{a.one(to)} the left {by}",
            a.judge.room(order[0], "main"),
            kind,
            "1 left",
            when=fits and a.judge.empty(order[0], "main"),
        )
        a.put(
            "moved",
            f"the {word}",
            f"{a.one(to)} the {by} on the right",
            a.judge.room(order[1], "main"),
            kind,
            "1 right",
            when=fits and a.judge.empty(order[1], "main"),
        )
        a.put(
            "moved",
            f"the {word}",
            f"between the two {a.objects['one'].item.words}",
            a.judge.between("one", "two", ("moved",)),
            "5 between",
        )
        a.beside(
            "moved", f"the {word}", "behind" if p.rng.random() < 0.5 else "in front of", order[1], to=f"right {by}"
        )
        a.refuse(f"put the {word} {to[0]} the {by}", "AMBIGUOUS")
        a.refuse_take(
            f"the {word} {to[0]} the {by}",
            "RELATION_UNSATISFIED",
            a.judge.far_apart(("moved",), "one") and a.judge.far_apart(("moved",), "two"),
        )

    return Plan(p.objects, ask)


def halves(p: Planner) -> Plan:
    """A tray or board with an object on its left half."""
    item = p.kit.items[p.kit.tray]
    x, y, _ = item.mesh.size
    at = p.jitter((0.05, 0.08), 0.02)
    floor = item.rooms["main"].floor
    rooms = dict(item.rooms) | {
        n: Room("on", x / 4 - 0.025, y / 2 - 0.03, floor, s * x / 4) for n, s in (("left half", -1), ("right half", 1))
    }

    p.add("tray", replace(item, rooms=rooms), at, p.tint(p.kit.tray), 0.0, free=False)
    fits = [k for k in p.kit.small if max(p.kit.items[k].mesh.size[:2]) < min(0.15, x / 2 - 0.01)]
    kind = p.pick(fits)
    colour = p.tint(kind)
    p.add("held", kind, (0.0, 0.0), colour, on=("tray", "left half"))
    p.add("loose", kind, p.jitter((-0.38, -0.15), 0.02), colour)
    other = p.add("moved", p.pick(fits), p.jitter((0.38, -0.2), 0.03))
    p.fill(1)

    def ask(a: SentenceMaker) -> None:
        word, by = a.noun("held"), a.noun("tray")
        held = a.judge.holds("held", "tray", "left half") and a.judge.gap("loose", "tray") > 0.08
        kind = "3 in tray or bin" if "tray" in by else "3 on plate"
        a.take("held", f"the {word} on the {by}", kind, when=held)
        right = a.judge.room("tray", "right half", "tray")
        a.put(
            "moved",
            f"the {other.item.word}",
            f"{a.one(('on', 'onto'))} the right {a.one(('half', 'side'))} of the {by}",
            right,
            "4 half",
            "5 in tray",
            when=a.judge.empty("tray", "right half"),
        )
        a.then(
            "loose",
            f"the {word} that is not on the {by}",
            f"on the right side of the {by}",
            right,
            "4 half",
            "5 in tray",
            when=held and a.judge.on_table("loose"),
        )
        a.then(
            "held",
            f"the {word} on the {by}",
            f"in front of the {by}",
            a.judge.beside("in front of", "tray", ("held",)),
            kind,
            "5 front",
            when=held,
        )
        a.refuse_take(f"the {word}", "AMBIGUOUS")
        a.refuse_take(f"the {other.item.word} on the {by}", *a.judge.apart(("moved",), "tray"))

    return Plan(p.objects, ask, low=34)


def full(p: Planner) -> Plan:
    """A small tray on which there is no room left, and an empty plate."""
    item = Item(
        "tray",
        ("tray",),
        tray(0.22, 0.175, 0.03, 0.006),
        ("gray", "white", "brown"),
        solid="cells",
        rooms={"main": Room("on", 0.08, 0.06, 0.006)},
    )
    p.add(
        "tray",
        item,
        p.jitter((-0.2, 0.05), 0.02),
        str(p.rng.choice(("gray", "white", "brown"))),
        float(p.rng.uniform(-3, 3)),
        free=False,
    )
    cube = replace(p.kit.items["block"], mesh=box((-0.045, -0.035, 0), (0.045, 0.035, 0.035)))
    for k, (dx, dy) in enumerate(((-0.05, -0.039), (0.05, -0.039), (-0.05, 0.039), (0.05, 0.039))):
        p.add(f"full{k}", cube, (dx, dy), p.tint("block"), 0.0, on=("tray", "main"))
    kind = p.pick([k for k in p.kit.small if k != "block"])
    p.add("moved", kind, p.jitter((0.15, -0.18), 0.03))
    p.add("plate", p.pick(p.kit.flats), p.jitter((0.22, 0.14), 0.02), turn=float(p.rng.uniform(-3, 3)))
    p.fill(2)

    def ask(a: SentenceMaker) -> None:
        word = a.noun("moved")
        a.refuse(f"put the {word} {a.one(('in', 'on'))} the tray", "NO_PLACE")
        a.put(
            "moved",
            f"the {word}",
            f"on the {a.noun('plate')}",
            a.judge.room("plate", "main"),
            "5 on plate",
            when=a.judge.empty("plate", "main") and a.judge.fits("moved", "plate"),
        )
        a.beside("moved", f"the {word}", a.one(("left of", "in front of", "right of")), "tray")
        a.put(
            "moved",
            f"the {word}",
            f"between the tray and the {a.noun('plate')}",
            a.judge.between("tray", "plate", ("moved",)),
            "5 between",
        )
        a.refuse_take(f"the {word} {a.one(('in', 'on'))} the tray", *a.judge.apart(("moved",), "tray"))
        a.refuse_take("the block", "AMBIGUOUS")

    return Plan(p.objects, ask, low=40)


def compartments(p: Planner) -> Plan:
    """An organiser of three compartments, with an object in the left one."""
    w, d, h = 0.36, 0.15, 0.07
    walls = [box((s - 0.003, -d / 2, 0), (s + 0.003, d / 2, h)) for s in (-w / 6, w / 6)]
    rooms = {
        n: Room("inside", w / 6 - 0.025, d / 2 - 0.028, 0.006, i * w / 3, height=h)
        for n, i in (("left", -1), ("middle", 0), ("right", 1))
    }
    item = Item(
        "desk organizer",
        ("organizer", "desk organizer", "caddy"),
        joined([tray(w, d, h, 0.006), *walls]),
        ("gray", "black", "white"),
        solid="cells",
        rooms=rooms,
    )
    p.add("org", item, p.jitter((0.05, 0.1), 0.03), str(p.rng.choice(item.colours)), 0.0, free=False)
    fits = [k for k in p.kit.small if max(p.kit.items[k].mesh.size[:2]) < 0.1]
    kind = p.pick(fits)
    colour = p.tint(kind)
    p.add("held", kind, (0.0, 0.0), colour, on=("org", "left"))
    p.add("loose", kind, p.jitter((-0.32, -0.14), 0.03), colour)
    moved = p.add("moved", p.pick(fits), p.jitter((0.28, -0.2), 0.03))
    p.fill(1)

    def ask(a: SentenceMaker) -> None:
        word, by = a.noun("held"), a.one(item.said)
        held = a.judge.holds("held", "org", "left")
        a.take(
            "held", f"the {word} in the left compartment of the {by}", "4 compartment", "3 in tray or bin", when=held
        )
        a.take("held", f"the {word} in the {by}", "3 in tray or bin", when=held)
        for name in ("right", "middle"):
            a.put(
                "moved",
                f"the {moved.item.word}",
                f"{a.one(('in', 'into'))} the {name} compartment of the {a.one(item.said)}",
                a.judge.room("org", name),
                "4 compartment",
                when=a.judge.empty("org", name),
            )
        a.take("loose", f"the {word} that is not in the {by}", "3 in tray or bin", when=held)
        a.refuse_take(f"the {word}", "AMBIGUOUS")
        a.refuse_take(f"the {moved.item.word} in the {by}", *a.judge.apart(("moved",), "org"))

    return Plan(p.objects, ask, low=42, loose=frozenset({"held"}))


def table_parts(p: Planner) -> Plan:
    """Equal objects in the middle, at a corner and at an edge of the table."""
    kind = p.pick(p.kit.equal)
    colour = p.tint(kind)
    middle = p.rng.random() < 0.5
    side = float(p.rng.choice((-1.0, 1.0)))
    p.add("corner", kind, p.jitter((side * 0.5, 0.3), 0.015), colour)
    p.add("centre" if middle else "front", kind, p.jitter((0.0, 0.0) if middle else (0.1 * side, -0.33), 0.015), colour)
    p.add("moved", p.pick(p.kit.small), p.jitter((-side * 0.3, -0.1), 0.03))
    p.add("plate", p.pick(p.kit.flats), p.jitter((-side * 0.38, 0.16), 0.02), turn=float(p.rng.uniform(-3, 3)))

    def ask(a: SentenceMaker) -> None:
        word, other = a.noun("corner"), a.noun("moved")
        if not a.judge.whole_table():
            return
        if middle:
            a.take(
                "centre",
                a.one((f"the {word} in the middle of the table", f"the {word} in the center of the table")),
                "4 table part",
            )
        else:
            a.take("front", f"the {word} at the front edge of the table", "4 table part")
            a.put(
                "moved",
                f"the {other}",
                a.one(("in the middle of the table", "in the center of the table")),
                a.judge.table_middle(("moved",)),
                "4 table part",
            )
        a.take(
            "corner",
            a.one((f"the {word} in the corner of the table", f"the {word} at the corner of the table")),
            "4 table part",
        )
        a.then(
            "corner",
            f"the {word} at the corner of the table",
            f"on the {a.noun('plate')}",
            a.judge.room("plate", "main"),
            "4 table part",
            "5 on plate",
            when=a.judge.empty("plate", "main") and a.judge.fits("moved", "plate"),
        )
        a.refuse_take(
            f"the {other} {'in the corner' if p.rng.random() < 0.5 else 'at the corner'} of the table",
            "RELATION_UNSATISFIED",
        )
        a.refuse_take(f"the {word}", "AMBIGUOUS")

    return Plan(p.objects, ask, low=42, near=1.4, far=1.5, whole=True)


def towers(p: Planner) -> Plan:
    """Blocks (or boxes) on which others are put."""
    tones: list[str | None] = []
    for k, (x, y) in enumerate(((-0.24, 0.0), (0.0, 0.1), (0.24, -0.05))):
        tones.append(p.tint("block", tones))
        p.add(f"b{k}", "block", p.jitter((x, y), 0.03), tones[-1])
    p.add("aside", p.pick(p.kit.flats + p.kit.vessels), p.jitter((0.1, -0.24), 0.02), turn=float(p.rng.uniform(-3, 3)))
    p.fill(2)

    def ask(a: SentenceMaker) -> None:
        stack = a.judge.room("b1", "main")
        stack = Place("on", "b1", stack.middle, np.array([0.015, 0.015, 0.003]))
        a.put("b0", f"the {tones[0]} block", f"on top of the {tones[1]} block", stack, "5 stack", "2 colour")
        a.beside(
            "b2",
            f"the {tones[2]} block",
            a.one(("left of", "right of", "behind")),
            "b1",
            "2 colour",
            to=f"{tones[1]} block",
        )
        a.put(
            "b2",
            f"the {tones[2]} block",
            f"between the {tones[0]} block and the {tones[1]} block",
            a.judge.between("b0", "b1", ("b2",)),
            "5 between",
            "2 colour",
        )
        a.refuse_take(f"the {tones[0]} block on the {tones[2]} block", *a.judge.apart(("b0",), "b2"))
        a.refuse(f"put the {a.noun('aside')} {a.one(('next to', 'behind'))} the block", "AMBIGUOUS")
        a.wrong_colour(("b0", "b1", "b2"))

    return Plan(p.objects, ask)
