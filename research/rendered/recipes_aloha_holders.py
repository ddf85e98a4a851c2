# SPDX-License-Identifier: Apache-2.0
"""Scenes of ALOHA's objects on coasters and in pots, a caddy, a dish rack and a basket."""

from __future__ import annotations

from research.rendered.aloha_speech import Talk, spread
from research.rendered.kits import Plan, Planner
from research.rendered.recipes_aloha import plan


def coasters(p: Planner) -> Plan:
    """Coasters of three colours; equal mugs or bottles on two of them and one on the table."""
    kind = p.pick(("mug", "bottle", "flower pot"))
    colour = p.tint(kind)
    colours = [str(c) for c in p.rng.permutation(("red", "blue", "green", "yellow"))][:3]
    for i, (x, c) in enumerate(zip(spread(3, 0.25), colours, strict=True)):
        p.add(f"coaster{i}", "coaster", p.jitter((x, 0.1 - 0.06 * (i == 1)), 0.015), c, 0.0, free=False)
    held = [int(i) for i in p.rng.permutation(3)]
    for i in held[:2]:
        p.add(f"row{i}", kind, (0.0, 0.0), colour, on=(f"coaster{i}", "main"))
    p.add("loose", kind, p.jitter((-0.17, -0.2), 0.02), colour)
    p.add("moved", p.pick(("sponge", "block E", "USB stick")), p.jitter((0.17, -0.22), 0.02))
    p.extras(1, ("headset", "laptop", "shears"))

    def ask(v: Talk) -> None:
        j, word, other = v.a.judge, v.word("loose"), v.word("moved")
        free, tone = f"coaster{held[2]}", colours[held[2]]
        on = all(j.holds(f"row{i}", f"coaster{i}", "main") for i in held[:2])
        on = on and all(j.gap("loose", f"coaster{i}") > 0.08 for i in range(3))
        for i in held[:2]:
            v.take(
                f"row{i}",
                (f"the {word} on the {colours[i]} coaster", f"the {word} that's on the {colours[i]} coaster"),
                "2 colour",
                "3 on top",
                when=on,
            )
        v.take("loose", (f"the {word} that has no coaster", f"the {word} without a coaster"), "3 on top", when=on)
        v.into("loose", f"the {word} without a coaster", free, f"the {tone} coaster", "5 on top", "2 colour", when=on)
        v.into("moved", f"the {other}", free, f"the {tone} coaster", "5 on top", "2 colour")
        v.into("moved", f"the {other}", free, v.a.one(("the empty coaster", "the free coaster")), "5 on top")
        v.aside("moved", f"the {other}", v.a.one(("in front of", "left of")), free, f"the {tone} coaster", "2 colour")
        v.take(free, (f"the {tone} coaster",), "2 colour")
        v.deny(f"the {word} on the {tone} coaster", "RELATION_UNSATISFIED", on)
        v.deny((f"the {word}", f"that {word}"), "AMBIGUOUS")
        v.deny("the coaster", "AMBIGUOUS")
        v.not_there("behind", ["moved"], other, free, f"the {tone} coaster")
        v.no_such_colour([f"coaster{i}" for i in range(3)], "coaster")
        v.missing()

    return plan(p, ask, low=34, high=60, near=0.85, far=1.25, swing=18)


def pots(p: Planner) -> Plan:
    """Three equal vessels, objects in two of them, a bowl and something to put away."""
    kind = p.pick(("flower pot", "bowl"))
    colour = p.tint(kind)
    for i, x in enumerate(spread(3, 0.28)):
        p.add(f"row{i}", kind, p.jitter((x, 0.1 - 0.05 * i), 0.015), colour, 0.0)
    full = [int(i) for i in p.rng.permutation(3)]
    p.add("held", "block A", (0.0, 0.0), None, 0.0, on=(f"row{full[0]}", "main"))
    second = p.pick(("sponge", "USB stick") if kind == "bowl" else ("USB stick",))
    p.add("kept", second, (0.0, 0.0), on=(f"row{full[1]}", "main"))
    p.add("moved", "block E", p.jitter((-0.2, -0.22), 0.02), None)
    p.add("holder", p.pick(("plate", "board")), p.jitter((0.2, -0.22), 0.02), turn=0.0)
    p.extras(1, ("shears", "headset", "can opener"))

    def ask(v: Talk) -> None:
        j, word, lying, by = v.a.judge, v.word("row0"), v.word("kept"), v.word("holder")
        brick = v.word("held")
        on = j.holds("kept", f"row{full[1]}", "main") and j.on_table("moved") and not j.on_table("held")
        on = on and all(j.gap("moved", f"row{i}") > 0.06 for i in range(3))
        v.take(f"row{full[0]}", f"the {word} with the {brick} in it", "2 holds", when=on)
        v.take(
            f"row{full[1]}",
            (f"the {word} with the {lying} in it", f"the {word} holding the {lying}"),
            "2 holds",
            when=on,
        )
        v.take(f"row{full[2]}", (f"the empty {word}", f"the {word} with nothing in it"), "2 holds", when=on)
        v.take("held", f"the {brick} that's in the {word}", "3 in tray or bin", when=on)
        v.take("moved", f"the {brick} on the table", "3 on top", when=on)
        v.into(
            "moved", f"the {brick} on the table", f"row{full[2]}", f"the empty {word}", "2 holds", "5 in bowl", when=on
        )
        v.into(
            "held",
            f"the {brick} that is in the {word}",
            "holder",
            f"the {by}",
            "3 in tray or bin",
            "5 on plate",
            when=on,
        )
        v.aside(
            "moved",
            f"the {brick} on the table",
            "in front of",
            f"row{full[2]}",
            f"the empty {word}",
            "2 holds",
            when=on,
        )
        v.into("kept", f"the {lying}", "holder", f"the {by}", "5 on plate", when=on)
        v.deny(f"the {word}", "AMBIGUOUS")
        v.deny_put(f"the {lying}", "next to", f"the {word}", "AMBIGUOUS")
        v.deny(f"the {lying} on the {by}", *j.apart(["kept"], "holder"))
        v.deny((f"the {brick}", f"that {brick}"), "AMBIGUOUS")
        v.not_there("behind", ["moved", "held"], brick, f"row{full[1]}", f"the {word} with the {lying} in it")
        v.no_such_colour(["row0"], word)
        v.missing(f" in the {word}")

    return plan(p, ask, low=42, high=62, near=0.82, far=1.2, swing=18)


def carry(p: Planner) -> Plan:
    """A caddy of two compartments, an equal object in one of them and one on the table."""
    side = p.sign()
    p.add("caddy", "caddy", p.jitter((side * 0.2, 0.08), 0.02), None, float(p.rng.uniform(-6, 6)), free=False)
    first, second = (str(n) for n in p.rng.permutation(("left", "right")))
    kind = p.pick(("block A", "marker"))
    colour = p.tint(kind)
    p.add("held", kind, (0.0, 0.0), colour, 0.0, on=("caddy", first))
    p.add("loose", kind, p.jitter((-side * 0.25, 0.06), 0.03), colour)
    p.add("moved", p.pick(("USB stick", "marker", "block B")), p.jitter((side * 0.02, -0.22), 0.02), turn=90.0)
    p.add("spare", p.pick(("plate", "bowl")), p.jitter((-side * 0.32, -0.22), 0.02))
    p.extras(1, ("shears", "magnifier", "headset"))

    def ask(v: Talk) -> None:
        j, word, by, other, third = v.a.judge, v.word("loose"), v.word("caddy"), v.word("moved"), v.word("spare")
        on = j.holds("held", "caddy", first) and j.gap("loose", "caddy") > 0.08
        told = (
            f"the {word} in the {first} compartment",
            f"the {word} on the {first} side of the {by}",
            f"the {word} in the {by}",
        )
        v.take("held", told, "4 compartment", "3 in tray or bin", when=on)
        v.take(
            "loose", (f"the {word} that is not in the {by}", f"the {word} on the table"), "3 in tray or bin", when=on
        )
        where = v.a.one((f"the {second} compartment of the {by}", f"the {second} side of the {by}"))
        v.into("moved", f"the {other}", "caddy", where, "4 compartment", "5 in tray", room=second)
        v.into("loose", f"the {word} on the table", "caddy", where, "4 compartment", "5 in tray", room=second, when=on)
        v.into("held", f"the {word} in the {by}", "spare", f"the {third}", "3 in tray or bin", "5 on plate", when=on)
        v.into("loose", f"the {word} on the table", "spare", f"the {third}", "5 on plate", "3 on top", when=on)
        v.aside("moved", f"the {other}", "in front of", "caddy", f"the {by}")
        v.aside("spare", f"the {third}", "in front of", "caddy", f"the {by}")
        v.deny(f"the {word}", "AMBIGUOUS")
        v.deny(f"the {word} in the {second} compartment", "RELATION_UNSATISFIED", on)
        v.deny(f"the {other} in the {by}", *j.apart(["moved"], "caddy"))
        v.deny_put(f"the {word}", "on" if third != "bowl" else "inside", f"the {third}", "AMBIGUOUS")
        v.missing(f" in the {by}")

    return plan(p, ask, low=46, high=62, near=0.85, far=1.2, aim=0.05, swing=14)


def washing(p: Planner) -> Plan:
    """A dish rack with an object in it, equal ones on the table, a plate and a mug."""
    side = p.sign()
    p.add("rack", "dish rack", p.jitter((side * 0.24, 0.1), 0.02), None, float(p.rng.uniform(-8, 8)), free=False)
    kind = p.pick(("sponge", "block A", "block F"))
    colour = p.tint(kind)
    p.add("held", kind, (0.0, 0.0), colour, float(p.rng.uniform(-4, 4)), on=("rack", "main"))
    p.add("loose", kind, p.jitter((-side * 0.08, 0.15), 0.02), colour)
    p.add("moved", "mug", p.jitter((-side * 0.12, -0.14), 0.03))
    p.add("spare", "plate", p.jitter((-side * 0.4, 0.0), 0.02))
    p.extras(1, ("shears", "can opener", "bottle"))

    def ask(v: Talk) -> None:
        j, word, by, third = v.a.judge, v.word("loose"), v.word("rack"), v.word("spare")
        on = j.holds("held", "rack", "main") and j.gap("loose", "rack") > 0.06
        v.take("held", (f"the {word} in the {by}", f"the {word} that's in the {by}"), "3 in tray or bin", when=on)
        v.take("loose", (f"the {word} on the table", f"the {word} that's not in the {by}"), "3 in tray or bin", when=on)
        v.into("held", f"the {word} in the {by}", "spare", f"the {third}", "3 in tray or bin", "5 on plate", when=on)
        v.into("loose", f"the {word} on the table", "spare", f"the {third}", "3 on top", "5 on plate", when=on)
        v.into("moved", "the mug", "spare", f"the {third}", "5 on plate")
        v.aside("held", f"the {word} from the {by}", "in front of", "moved", "the mug", "3 in tray or bin", when=on)
        v.aside("moved", "the mug", "in front of", "loose", f"the {word} on the table", "3 on top", when=on)
        v.near("moved", "the mug", "spare", f"the {third}")
        v.deny(f"the {word}", "AMBIGUOUS")
        v.deny("the mug in the " + by, *j.apart(["moved"], "rack"))
        v.deny(f"the {third} in the {by}", *j.apart(["spare"], "rack"))
        v.not_there("right of" if side > 0 else "left of", ["moved"], "mug", "rack", f"the {by}")
        v.no_such_colour(["loose"], word)
        v.missing(f" in the {by}")

    return plan(p, ask, low=40, high=60, near=0.95, far=1.3, aim=0.03, swing=16)


def packed(p: Planner) -> Plan:
    """A basket that six blocks fill, another block, and an empty bowl or pot."""
    side = p.sign()
    p.add("box", "punnet", p.jitter((side * 0.22, 0.08), 0.02), turn=float(p.rng.uniform(-15, 15)), free=False)
    for k in range(6):
        kind = f"block {'ABEF'[int(p.rng.integers(4))]}"
        p.add(f"block{k}", kind, (0.054 * (k % 3 - 1), 0.054 * (k // 3 - 0.5)), None, 0.0, on=("box", "main"))
    p.add("loose", "block A", p.jitter((-side * 0.12, -0.16), 0.02), None)
    p.add("holder", p.pick(("bowl", "plate", "flower pot")), p.jitter((-side * 0.22, 0.12), 0.02))
    p.add("moved", p.pick(("mug", "sponge", "marker", "USB stick")), p.jitter((side * 0.15, -0.22), 0.02))
    p.extras(1, ("shears", "can opener"))

    def ask(v: Talk) -> None:
        j, word, other = v.a.judge, v.word("loose"), v.word("moved")
        by, to = v.word("box"), v.word("holder")
        out = j.gap("loose", "box") > 0.08 and j.on_table("loose")
        v.take(
            "loose", (f"the {word} that is outside the {by}", f"the {word} on the table"), "3 in tray or bin", when=out
        )
        v.into("loose", f"the {word} on the table", "holder", f"the {to}", "3 on top", "5 on plate", when=out)
        v.into("moved", f"the {other}", "holder", f"the {to}", "5 on plate")
        v.aside(
            "loose", f"the {word} outside the {by}", "left of", "moved", f"the {other}", "3 in tray or bin", when=out
        )
        v.aside("moved", f"the {other}", v.a.one(("in front of", "behind")), "holder", f"the {to}")
        v.near("moved", f"the {other}", "loose", f"the {word} on the table", when=out)
        v.deny_put(f"the {other}", "inside", f"the {by}", "NO_PLACE")
        v.deny(f"the {word} in the {by}", "AMBIGUOUS")
        v.deny(f"the {word}", "AMBIGUOUS")
        v.deny(f"the {other} in the {by}", *j.apart(["moved"], "box"))
        v.missing(f" in the {by}")

    return plan(p, ask, low=40, high=62, near=0.85, far=1.2, swing=16)
