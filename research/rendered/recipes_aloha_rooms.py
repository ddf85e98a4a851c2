# SPDX-License-Identifier: Apache-2.0
"""Scenes of ALOHA's objects with furniture: drawers, cubbyholes, sections, halves, corners, a stand."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from research.rendered.aloha_speech import Talk
from research.rendered.desk_furniture import HOLES, SLOTS, dresser
from research.rendered.judge import Place
from research.rendered.kits import Plan, Planner
from research.rendered.recipes_aloha import along, plan

CORNERS = {"near left": (-1, -1), "near right": (1, -1), "far left": (-1, 1), "far right": (1, 1)}


def drawer(opened: str, filled: bool) -> Callable[[Planner], Plan]:
    """A dresser with one drawer open; equal objects in it or not, on top of it, and on the table."""

    def recipe(p: Planner) -> Plan:
        side = p.sign()
        tone = p.kit.items["dresser"].colours[int(p.rng.integers(3))]
        p.add(
            "dresser",
            dresser(opened),
            p.jitter((side * 0.08, 0.2), 0.02),
            tone,
            float(p.rng.uniform(-5, 5)),
            free=False,
        )
        kind = p.pick(("block A", "USB stick", "block F"))
        colour = p.tint(kind)
        if filled:
            p.add("held", kind, (0.0, 0.0), colour, 0.0, on=("dresser", f"{opened} drawer"))
        top = float(p.rng.choice((-0.13, 0.13)))
        p.add("row0", kind, (top, -0.02), colour, 0.0, on=("dresser", "main"))
        spot = {"left": 0.3, "middle": side * -0.33, "right": -0.3}[opened]
        p.add("loose", kind, p.jitter((spot, -0.16), 0.02), colour)
        p.add("moved", p.pick(("mug", "sponge", "bottle", "marker")), p.jitter((spot * 0.4, -0.27), 0.02))
        p.add("spare", p.pick(("bowl", "shears", "can opener")), p.jitter((-spot, -0.25), 0.02))

        def ask(v: Talk) -> None:
            j, word, by, other, third = v.a.judge, v.word("loose"), v.word("dresser"), v.word("moved"), v.word("spare")
            part = f"dresser/{opened} drawer"
            on = j.holds("row0", "dresser", "main") and j.on_table("loose") and j.gap("loose", "dresser") > 0.05
            on = on and j.gap("loose", part) > 0.05
            if filled:
                on = on and j.holds("held", "dresser", f"{opened} drawer")
                v.take(
                    "held",
                    (f"the {word} in the {opened} drawer", f"the {word} inside the open drawer"),
                    "3 in drawer",
                    "4 drawer order",
                    when=on,
                )
                v.put(
                    "held",
                    f"the {word} from the {opened} drawer",
                    "right of",
                    f"the {third}",
                    j.beside("right of", "spare", ("held",)),
                    "3 in drawer",
                    "4 drawer order",
                    "5 side",
                    when=on,
                )
            v.take("row0", (f"the {word} on the {by}", f"the {word} that's on top of the {by}"), "3 on top", when=on)
            v.take("loose", (f"the {word} on the table", f"the {word} lying on the table"), "3 on top", when=on)
            drawer_of = {"room": f"{opened} drawer", "anchor": part}
            told = v.a.one((f"the {opened} drawer", "the open drawer", "the drawer that's pulled out"))
            kinds = ("5 in drawer", "4 drawer order")
            for name, phrase in (("moved", f"the {other}"), ("loose", f"the {word} lying on the table")):
                v.into(name, phrase, "dresser", told, *kinds, when=on, **drawer_of)
            v.aside("moved", f"the {other}", v.a.one(("left of", "right of")), "spare", f"the {third}")
            v.aside("loose", f"the {word} on the table", "behind", "spare", f"the {third}", "3 on top", when=on)
            v.near("spare", f"the {third}", "moved", f"the {other}")
            for name, closed in zip((other, third), (s for s in SLOTS if s != opened), strict=True):
                v.deny_put(f"the {name}", "inside", f"the {closed} drawer", "NO_PLACE")
            v.deny(f"the {third} in the {opened} drawer", *j.apart(["spare"], part))
            v.deny(f"the {other} on top of the {by}", *j.apart(["moved"], "dresser"))
            v.deny(f"the {word}", "AMBIGUOUS")
            v.not_there("behind", ["spare"], third, "dresser", f"the {by}")
            v.missing(v.a.one((" on the dresser", "")))

        return plan(p, ask, low=34, high=54, aim=0.04, near=1.05, far=1.45, swing=14)

    return recipe


def holes(p: Planner) -> Plan:
    """A unit of two by two cubbyholes, equal objects in two of them and one on the table."""
    side = p.sign()
    p.add("unit", "cubbies", p.jitter((side * 0.12, 0.22), 0.02), turn=float(p.rng.uniform(-5, 5)), free=False)
    names = [list(HOLES)[int(i)] for i in p.rng.permutation(4)]
    kind = p.pick(("mug", "block B", "sponge", "flower pot"))
    colour = p.tint(kind)
    for i in (0, 1):
        p.add(f"row{i}", kind, (float(p.rng.uniform(-0.02, 0.02)), 0.0), colour, 0.0, on=("unit", names[i]))
    p.add("loose", kind, p.jitter((-side * 0.35, -0.08), 0.02), colour)
    p.add("moved", p.pick(("block A", "USB stick", "mug", "sponge")), p.jitter((side * 0.3, -0.16), 0.02))
    p.extras(1, ("shears", "can opener", "headset"))

    def ask(v: Talk) -> None:
        j, word, by, other = v.a.judge, v.word("loose"), v.word("unit"), v.word("moved")
        on = all(j.holds(f"row{i}", "unit", names[i]) for i in (0, 1)) and j.gap("loose", "unit") > 0.08

        def called(name: str) -> str:
            words = (name, name.replace("upper", "top").replace("lower", "bottom"))
            of = (f"compartment of the {by}", "cubbyhole", f"section of the {by}")
            return f"{v.a.one(words)} {v.a.one(of)}"

        for i in (0, 1):
            v.take(f"row{i}", f"the {word} in the {called(names[i])}", "4 compartment", "3 on shelf", when=on)
        v.take("loose", (f"the {word} that's not in the {by}", f"the {word} on the table"), "3 on shelf", when=on)
        for n in names[2:]:
            v.into("moved", f"the {other}", "unit", f"the {called(n)}", "4 compartment", "5 in tray", room=n)
        v.into(
            "loose", f"the {word} on the table", "unit", f"the {called(names[2])}", "5 in tray", room=names[2], when=on
        )
        v.put(
            "row0",
            f"the {word} in the {called(names[0])}",
            "in front of",
            f"the {other}",
            j.beside("in front of", "moved", ("row0",)),
            "4 compartment",
            "5 front",
            when=on,
        )
        v.aside("moved", f"the {other}", "left of" if side > 0 else "right of", "unit", f"the {by}")
        v.deny(f"the {word} in the {called(names[2])}", "RELATION_UNSATISFIED", on)
        v.deny(f"the {other} in the {by}", *j.apart(["moved"], "unit"))
        v.deny(f"the {word} in the {by}", "AMBIGUOUS", on)
        v.deny(f"the {word}", "AMBIGUOUS")
        v.missing(f" in the {called(names[0])}")

    return plan(p, ask, low=20, high=32, aim=0.13, near=1.1, far=1.45, swing=14)


def sections(p: Planner) -> Plan:
    """A cutlery tray of three sections, equal long objects in two of them and one on the table."""
    side = p.sign()
    p.add("tray", "cutlery tray", p.jitter((side * 0.18, 0.08), 0.02), turn=float(p.rng.uniform(-6, 6)), free=False)
    names = [SLOTS[int(i)] for i in p.rng.permutation(3)]
    kind = p.pick(("marker", "can opener", "magnifier", "block A"))
    colour = p.tint(kind)
    for i in (0, 1):
        p.add(f"row{i}", kind, (0.0, 0.0), colour, along(p, kind) * (kind != "block A"), on=("tray", names[i]))
    p.add("loose", kind, p.jitter((-side * 0.26, 0.0), 0.03), colour)
    p.add("moved", p.pick(("USB stick", "block B", "mug", "sponge")), p.jitter((-side * 0.05, -0.24), 0.02))
    p.extras(1, ("shears", "flower pot", "bottle"))

    def ask(v: Talk) -> None:
        j, word, by, other = v.a.judge, v.word("loose"), v.word("tray"), v.word("moved")
        on = all(j.holds(f"row{i}", "tray", names[i]) for i in (0, 1)) and j.gap("loose", "tray") > 0.07
        third = names[2]
        for i in (0, 1):
            told = (f"the {word} in the {names[i]} section", f"the {word} in the {names[i]} section of the {by}")
            v.take(f"row{i}", told, "4 compartment", "3 in tray or bin", when=on)
        v.take("loose", (f"the {word} outside the {by}", f"the {word} on the table"), "3 in tray or bin", when=on)
        for name, phrase in (("moved", f"the {other}"), ("loose", f"the {word} outside the {by}")):
            of = v.a.one(("", f" of the {by}"))
            v.into(name, phrase, "tray", f"the {third} section{of}", "4 compartment", "5 in tray", room=third, when=on)
        v.into(
            "moved", f"the {other}", "tray", f"the empty section of the {by}", "4 compartment", "5 in tray", room=third
        )
        v.aside(
            "moved",
            f"the {other}",
            v.a.one(("in front of", "behind")),
            "loose",
            f"the {word} outside the {by}",
            when=on,
        )
        v.put(
            "row0",
            f"the {word} from the {names[0]} section",
            "next to",
            f"the {other}",
            j.around("moved", ("row0",)),
            "4 compartment",
            "5 next to",
            when=on,
        )
        v.deny(f"the {word} in the {third} section", "RELATION_UNSATISFIED", on)
        v.deny(f"the {other} in the {by}", *j.apart(["moved"], "tray"))
        v.not_there("behind", ["moved"], other, "tray", f"the {by}")
        v.deny(f"the {word} in the {by}", "AMBIGUOUS", on)
        v.deny((f"the {word}", f"that {word}"), "AMBIGUOUS")
        v.missing(f" in the {names[0]} section")

    return plan(p, ask, low=42, high=62, near=0.85, far=1.25, swing=16)


def stand(below: bool) -> Callable[[Planner], Plan]:
    """A monitor stand, equal objects on it, on the table and, if `below`, under it."""

    def recipe(p: Planner) -> Plan:
        side = p.sign()
        p.add("stand", "riser", p.jitter((side * 0.12, 0.18), 0.02), turn=float(p.rng.uniform(-5, 5)), free=False)
        kind = p.pick(("mug", "sponge", "block A", "can opener", "flower pot"))
        colour = p.tint(kind)
        if below:
            p.add("held", kind, (float(p.rng.uniform(-0.08, 0.08)), -0.04), colour, 0.0, on=("stand", "under"))
        p.add("row0", kind, (float(p.rng.uniform(-0.12, 0.12)), 0.0), colour, 0.0, on=("stand", "main"))
        p.add("loose", kind, p.jitter((-side * 0.35, -0.02), 0.02), colour)
        p.add("moved", p.pick(("bowl", "block B", "mug", "USB stick", "sponge")), p.jitter((side * 0.1, -0.22), 0.02))
        p.add("spare", p.pick(("marker", "shears", "bottle")), p.jitter((-side * 0.2, -0.26), 0.02))

        def ask(v: Talk) -> None:
            j, word, by, other, third = v.a.judge, v.word("loose"), v.word("stand"), v.word("moved"), v.word("spare")
            on = j.holds("row0", "stand", "main") and j.gap("loose", "stand") > 0.08
            if below:
                on = on and v.beneath("held", "stand")
                told = (f"the {word} under the {by}", f"the {word} underneath the {by}", f"the {word} below the {by}")
                v.take("held", told, "3 under", when=on)
                v.aside(
                    "held", f"the {word} that's under the {by}", "behind", "spare", f"the {third}", "3 under", when=on
                )
            v.take("row0", (f"the {word} on top of the {by}", f"the {word} on the {by}"), "3 on top", when=on)
            if not below:
                place = j.room("stand", "under")
                good = j.empty("stand", "under") and v.fits("moved", "stand", "under")
                v.put("moved", f"the {other}", "under", f"the {by}", place, "5 under", when=good)
                v.put("loose", f"the {word} on the table", "under", f"the {by}", place, "5 under", when=good and on)
                v.deny(f"the {word} under the {by}", "RELATION_UNSATISFIED", on)
            else:
                v.deny(f"the {other} under the {by}", *j.apart(["moved"], "stand"))
            v.put(
                "row0",
                f"the {word} on top of the {by}",
                "in front of",
                f"the {other}",
                j.beside("in front of", "moved", ("row0",)),
                "3 on top",
                "5 front",
                when=on,
            )
            v.aside("moved", f"the {other}", v.a.one(("left of", "right of")), "spare", f"the {third}")
            v.near("spare", f"the {third}", "moved", f"the {other}")
            v.deny(f"the {third} on the {by}", *j.apart(["spare"], "stand"))
            v.not_there("behind", ["moved"], other, "stand", f"the {by}")
            v.deny(f"the {word}", "AMBIGUOUS")
            v.no_such_colour(["loose"], word)
            v.missing(f" under the {by}")

        return plan(p, ask, low=20, high=34, aim=0.07, near=1.0, far=1.4, swing=14)

    return recipe


def halves(p: Planner) -> Plan:
    """A chopping board with an object on one half, an equal one on the table."""
    side = p.sign()
    p.add("board", "board", p.jitter((side * 0.12, 0.08), 0.02), turn=float(p.rng.uniform(-5, 5)), free=False)
    first, second = (str(n) for n in p.rng.permutation(("left", "right")))
    kind = p.pick(("mug", "sponge", "bowl", "can opener", "bottle", "block B"))
    colour = p.tint(kind)
    p.add("held", kind, (0.0, 0.0), colour, on=("board", first))
    p.add("loose", kind, p.jitter((-side * 0.33, 0.02), 0.02), colour)
    p.add("moved", p.pick(("shears", "block A", "USB stick", "magnifier")), p.jitter((0.05, -0.23), 0.02))
    p.extras(1, ("flower pot", "headset", "crock"))

    def ask(v: Talk) -> None:
        j, word, by, other = v.a.judge, v.word("loose"), v.word("board"), v.word("moved")
        on = j.holds("held", "board", first) and j.gap("loose", "board") > 0.07
        told = (f"the {word} on the {first} half of the {by}", f"the {word} on the {by}'s {first} half")
        v.take("held", told, "4 half", "3 on top", when=on)
        v.take("loose", f"the {word} that's not on the {by}", "3 on top", when=on)
        where = v.a.one(
            (f"the {second} half of the {by}", f"the {second} side of the {by}", f"the {by}'s {second} half")
        )
        v.into("moved", f"the {other}", "board", where, "4 half", "5 on top", room=second)
        v.into(
            "loose", f"the {word} that's not on the {by}", "board", where, "4 half", "5 on top", room=second, when=on
        )
        off, relation = f"the {word} that's not on the {by}", v.a.one(("behind", "in front of"))
        v.aside("moved", f"the {other}", relation, "loose", off, when=on)
        v.aside("held", f"the {word} on the {by}", "left of", "moved", f"the {other}", "3 on top", when=on)
        v.aside("held", f"the {word} on the {by}", "right of", "moved", f"the {other}", "3 on top", when=on)
        v.deny(f"the {word} on the {second} half of the {by}", "RELATION_UNSATISFIED", on)
        v.deny(f"the {other} on the {by}", *j.apart(["moved"], "board"))
        v.deny((f"the {word}", f"that {word}"), "AMBIGUOUS")
        v.not_there("behind", ["moved"], other, "board", f"the {by}")
        v.no_such_colour(["loose"], word)
        v.missing(f" on the {by}")

    return plan(p, ask, low=36, high=60, near=0.85, far=1.25, swing=16)


def corners(p: Planner) -> Plan:
    """Equal objects in two corners of the table, others in its middle; the whole table is in sight."""
    names = [list(CORNERS)[int(i)] for i in p.rng.permutation(4)]
    kind = p.pick(("bottle", "flower pot", "mug", "headset"))
    colour = p.tint(kind)
    for i in (0, 1):
        x, y = CORNERS[names[i]]
        p.add(f"row{i}", kind, p.jitter((0.47 * x, 0.28 * y), 0.02), colour)
    p.add("moved", p.pick(("laptop", "can opener", "sponge")), p.jitter((-0.05, 0.08), 0.03), turn=0.0)
    p.add("spare", p.pick(("plate", "bowl", "board")), p.jitter((0.1, -0.18), 0.02), turn=0.0)

    def ask(v: Talk) -> None:
        word, other, third = v.word("row0"), v.word("moved"), v.word("spare")

        def corner(name: str) -> Place:
            x, y = CORNERS[name]
            return Place("on", "table", np.array([0.44 * x, 0.26 * y, 0.0]), np.array([0.15, 0.13, 0.0]))

        def called(name: str) -> str:
            return f"the {name} corner of the table"

        for i in (0, 1):
            v.take(
                f"row{i}", (f"the {word} in {called(names[i])}", f"the {word} at {called(names[i])}"), "4 table part"
            )
        for name, phrase, n in (
            ("moved", f"the {other}", names[2]),
            ("spare", f"the {third}", names[3]),
            ("row0", f"the {word} in {called(names[0])}", names[2]),
        ):
            good = v.a.judge.whole_table() and v.a.judge.free(corner(n).middle[:2], {name}, v.a.judge.reach(name))
            v.put(name, phrase, "inside", called(n), corner(n), "4 table part", "5 table part", when=good)
        v.into("row1", f"the {word} in {called(names[1])}", "spare", f"the {third}", "4 table part", "5 on plate")
        v.aside("row0", f"the {word} in {called(names[0])}", "right of", "moved", f"the {other}", "4 table part")
        v.deny(f"the {word} in {called(names[2])}", "RELATION_UNSATISFIED")
        v.deny(f"the {third} in {called(names[3])}", "RELATION_UNSATISFIED")
        v.deny(f"the {word}", "AMBIGUOUS")
        v.no_such_colour(["row0"], word)
        v.missing(f" in {called(names[0])}")

    return plan(p, ask, low=38, high=58, near=1.3, far=1.48, swing=6, whole=True)
