# SPDX-License-Identifier: Apache-2.0
"""Scenes of Gazebo's objects in furniture: bookcase, cabinet, drawers, stove, organisers, steps."""

from __future__ import annotations

from collections.abc import Callable

from research.rendered.box_furniture import CORNERS, LEVELS, chest
from research.rendered.gazebo_speech import NUMBERS, Voice
from research.rendered.kits import Plan, Planner
from research.rendered.recipes_gazebo import plan


def bookcase(p: Planner) -> Plan:
    """A bookcase with objects on two of its three levels, one more on the table."""
    side = p.sign()
    p.add("case", "bookcase", p.jitter((side * 0.2, 0.27), 0.02), turn=float(p.rng.uniform(-5, 5)), free=False)
    order = [LEVELS[int(i)] for i in p.rng.permutation(3)]
    here, there, empty = order
    kind = p.pick(("tin", "cube", "small ball", "hatchback_blue", "can", "gear"))
    colour = p.tint(kind)
    p.add("held", kind, (float(p.rng.uniform(-0.08, 0.08)), 0.0), colour, 0.0, on=("case", here))
    twice = p.rng.random() < 0.5
    if twice:
        p.add("again", kind, (float(p.rng.uniform(-0.08, 0.08)), 0.0), colour, 0.0, on=("case", there))
    else:
        p.add("again", p.pick(("cone", "hydrant", "cup")), (0.0, 0.0), turn=0.0, on=("case", there))
    p.add("loose", kind, p.jitter((-side * 0.32, 0.0), 0.03), colour)
    p.add("moved", p.pick(("pulley", "cricket ball", "bowl", "ambulance")), p.jitter((-side * 0.12, -0.24), 0.03))
    p.add("holder", p.pick(("plate", "mat")), p.jitter((side * 0.3, -0.2), 0.02), turn=0.0)

    def ask(v: Voice) -> None:
        j, word, by, other = v.a.judge, v.word("held"), v.word("case"), v.word("moved")
        held = j.holds("held", "case", here) and j.holds("again", "case", there) and j.gap("loose", "case") > 0.06
        v.take(
            "held",
            (
                f"the {word} on the {here} shelf",
                f"the {word} that's on the {here} shelf",
                f"the {word} from the {here} shelf",
            ),
            "3 on shelf",
            "4 shelf level",
            when=held,
        )
        again = v.word("again")
        v.take("again", f"the {again} on the {there} shelf", "3 on shelf", "4 shelf level", when=held)
        v.take("loose", (f"the {word} on the table", f"the {word} that is not on the {by}"), "3 on shelf", when=held)
        if not twice:
            v.take("held", (f"the {word} in the {by}", f"the {word} on the {by}"), "3 on shelf", when=held)
            v.take("again", (f"the {again} from the {by}", f"the {again} on the {by}"), "3 on shelf", when=held)
        if empty != "top":
            v.into("moved", f"the {other}", "case", f"the {empty} shelf", "4 shelf level", "5 on top", room=empty)
        v.then(
            "again",
            f"the {again} from the {there} shelf",
            f"on the {v.word('holder')}",
            j.room("holder", "main"),
            "3 on shelf",
            "4 shelf level",
            "5 on plate",
            when=held and j.empty("holder", "main") and j.fits("again", "holder"),
        )
        v.aside(
            "moved",
            f"the {other}",
            v.a.one(("left of", "right of", "behind")),
            "loose",
            f"the {word} on the table",
            "3 on top",
            when=held,
        )
        v.deny(f"the {word}", "AMBIGUOUS")
        v.deny(f"the {word} on the {by}", "AMBIGUOUS", twice and held)
        v.deny(f"the {other} on the {by}", *j.apart(("moved",), "case"))
        v.missing(v.a.one((f" on the {here} shelf", f" on the {by}")))
        v.deny(f"the {word} on the {empty} shelf", "RELATION_UNSATISFIED", held)

    return plan(p, ask, low=20, high=34, aim=0.17, near=1.2, far=1.5, swing=22)


def cabinet(p: Planner) -> Plan:
    """An open cabinet of two compartments, one above the other, each with an object or none; one on its top."""
    side = p.sign()
    p.add("cabinet", "cabinet", p.jitter((side * 0.24, 0.24), 0.02), turn=float(p.rng.uniform(-5, 5)), free=False)
    full, empty = [("lower", "upper"), ("upper", "lower")][int(p.rng.integers(2))]
    kind = p.pick(("can", "cup", "bowl", "gear", "hatchback_red"))
    colour = p.tint(kind)
    p.add("held", kind, (float(p.rng.uniform(-0.05, 0.05)), 0.0), colour, 0.0, on=("cabinet", full))
    p.add("above", kind, (0.0, 0.0), colour, 0.0, on=("cabinet", "main"))
    p.add("moved", p.pick(("tin", "cube", "small ball", "cone")), p.jitter((-side * 0.1, -0.2), 0.03))
    p.add("other", p.pick(("drill", "fire_truck", "carton")), p.jitter((-side * 0.32, 0.05), 0.03))

    def ask(v: Voice) -> None:
        j, word, by, other = v.a.judge, v.word("held"), v.word("cabinet"), v.word("moved")
        held = j.holds("held", "cabinet", full) and j.holds("above", "cabinet", "main")
        v.take(
            "held",
            (f"the {word} in the {full} compartment of the {by}", f"the {word} in the {full} compartment"),
            "4 compartment",
            "3 on shelf",
            when=held,
        )
        v.take("held", (f"the {word} inside the {by}", f"the {word} in the {by}"), "3 in tray or bin", when=held)
        v.take(
            "above", (f"the {word} on top of the {by}", f"the {word} sitting on top of the {by}"), "3 on top", when=held
        )
        v.onto(
            "moved",
            f"the {other}",
            f"the {empty} compartment of the {by}",
            j.room("cabinet", empty),
            "4 compartment",
            "5 in crate",
            when=j.empty("cabinet", empty),
        )
        v.then(
            "above",
            f"the {word} from the top of the {by}",
            f"in front of the {v.word('other')}",
            j.beside("in front of", "other", ("above",)),
            "3 on top",
            "5 front",
            when=held,
        )
        v.aside(
            "moved", f"the {other}", v.a.one(("left of", "right of", "in front of")), "other", f"the {v.word('other')}"
        )
        v.deny((f"the {word}", f"that {word}"), "AMBIGUOUS")
        v.deny(f"the {other} in the {by}", *j.apart(("moved",), "cabinet"))
        v.missing(v.a.one((f" in the {by}", f" on top of the {by}")))
        v.deny(f"the {word} in the {empty} compartment", "RELATION_UNSATISFIED", held)

    return plan(p, ask, low=20, high=30, aim=0.15, near=1.2, far=1.5, swing=22)


def drawers(opened: str, filled: bool) -> Callable[[Planner], Plan]:
    """A chest of three drawers of which one is open; an object in it or on the chest, another like it on the table."""

    def recipe(p: Planner) -> Plan:
        side = p.sign()
        item = chest(opened)
        p.add("chest", item, p.jitter((side * 0.24, 0.24), 0.02), str(p.rng.choice(item.colours)), 0.0, free=False)
        kind = p.pick(("tin", "small ball", "cube", "gear") if filled else ("tin", "cube", "gear"))
        colour, room = p.tint(kind), f"{opened} drawer" if filled else "main"
        p.add("held", kind, (float(p.rng.uniform(-0.06, 0.06)), 0.0), colour, 0.0, on=("chest", room))
        p.add("loose", kind, p.jitter((-side * 0.3, 0.1), 0.03), colour)
        p.add("moved", p.pick(("can", "cup", "hatchback", "pulley")), p.jitter((-side * 0.38, -0.2), 0.03))
        p.add("holder", p.pick(("mat", "plate", "book")), p.jitter((-side * 0.05, -0.24), 0.02), turn=0.0)

        def ask(v: Voice) -> None:
            j, word, other, by = v.a.judge, v.word("held"), v.word("moved"), v.word("chest")
            held = j.holds("held", "chest", room) and j.gap("loose", "chest") > 0.05
            closed = v.a.one([n for n in LEVELS if n != opened])
            if any(j.seen(f"chest/{n} drawer")[0] < 150 for n in LEVELS):
                return
            part = f"chest/{opened} drawer"
            if filled:
                phrases = (f"the {word} in the {opened} drawer", f"the {word} from the {opened} drawer")
                v.take("held", phrases, "3 in drawer", "4 drawer order", when=held)
                v.take("held", f"the {word} in the drawer", "3 in drawer", when=held)
                v.into("moved", f"the {other}", "chest", f"the {by}", "5 on top", when=other != "car")
            else:
                v.take("held", f"the {word} on top of the {by}", "3 on top", when=held)
                there = j.room("chest", f"{opened} drawer", part, ("chest",))
                into = f"the {opened} drawer"
                v.onto("loose", f"the {word} on the table", into, there, "4 drawer order", "5 in drawer", when=held)
                v.onto(
                    "moved", f"the {other}", into, there, "4 drawer order", "5 in drawer", when=j.reach("moved") < 0.06
                )
                v.deny(f"the {word} in the {opened} drawer", "RELATION_UNSATISFIED", held)
            shut = (
                f"close the {opened} drawer",
                f"please shut the {opened} drawer",
                f"push the {opened} drawer closed",
            )
            v.a.say(part, v.a.one(shut), "4 drawer order")
            pull = (
                f"open the {closed} drawer",
                f"can you open the {closed} drawer?",
                f"please open the {closed} drawer",
            )
            v.a.say(f"chest/{closed} drawer", v.a.one(pull), "4 drawer order")
            v.take("loose", (f"the {word} on the table", f"the {word} lying on the table"), "3 on top", when=held)
            v.then(
                "loose",
                f"the {word} that is on the table",
                f"on the {v.word('holder')}",
                j.room("holder", "main"),
                "5 on plate",
                when=held and j.empty("holder", "main"),
            )
            v.aside(
                "moved",
                f"the {other}",
                v.a.one(("in front of", "right of", "left of")),
                "loose",
                f"the {word} on the table",
            )
            v.deny_put(f"the {other}", f"the {closed} drawer", True, "NO_PLACE")
            v.deny(f"the {other} in the {opened} drawer", *j.apart(("moved",), "chest"))
            v.deny(f"the {word}", "AMBIGUOUS")
            v.missing(f" in the {opened} drawer")

        return plan(p, ask, low=36, high=54, aim=0.17, near=1.2, far=1.5, swing=22)

    return recipe


def stove(p: Planner) -> Plan:
    """A stove of four burners, bowls on two of them, a third bowl on the table."""
    side = p.sign()
    p.add("stove", "stove", p.jitter((side * 0.22, 0.12), 0.02), None, float(p.rng.uniform(-4, 4)), free=False)
    names = [list(CORNERS)[int(i)] for i in p.rng.permutation(4)]
    kind = p.pick(("bowl", "cup", "can", "tin"))
    colour = p.tint(kind)
    for i in (0, 1):
        p.add(f"hot{i}", kind, (0.0, 0.0), colour, 0.0, on=("stove", names[i]))
    p.add("loose", kind, p.jitter((-side * 0.3, -0.1), 0.03), colour)
    p.add("moved", p.pick(("pulley", "cricket ball", "large cube", "cone")), p.jitter((-side * 0.08, -0.27), 0.02))
    p.extras(1, ("barrel", "bus", "camera"))

    def ask(v: Voice) -> None:
        j, word, by, other = v.a.judge, v.word("loose"), v.a.objects["stove"].item.word, v.word("moved")
        on = all(j.holds(f"hot{i}", "stove", names[i]) for i in (0, 1)) and j.gap("loose", "stove") > 0.06
        for i in (0, 1):
            v.take(
                f"hot{i}",
                (f"the {word} on the {names[i]} burner", f"the {word} from the {names[i]} burner"),
                "3 on burner",
                "4 burner",
                when=on,
            )
        v.take("loose", (f"the {word} that is not on the {by}", f"the {word} on the table"), "3 on burner", when=on)
        for n in names[2:]:
            v.into("moved", f"the {other}", "stove", f"the {n} burner", "4 burner", "5 on burner", room=n)
            v.then(
                "loose",
                f"the {word} on the table",
                f"on the {n} burner",
                j.room("stove", n),
                "4 burner",
                "5 on burner",
                when=on and j.empty("stove", n),
            )
        v.aside(
            "moved", f"the {other}", v.a.one(("left of", "in front of")), "loose", f"the {word} on the table", when=on
        )
        v.deny((f"the {word} on the {by}", f"the {word} from the {by}"), "AMBIGUOUS", on)
        v.deny(f"the {other} on the {by}", *j.apart(("moved",), "stove"))
        v.deny(f"the {word} on the {names[2]} burner", "RELATION_UNSATISFIED", on)
        v.missing(f" on the {by}")

    return plan(p, ask, low=32, high=56, near=0.95, far=1.3, aim=0.04, swing=22)


def four(p: Planner) -> Plan:
    """A tray of two by two compartments with equal objects in two of them."""
    side = p.sign()
    p.add("org", "quarters", p.jitter((side * 0.2, 0.1), 0.02), turn=float(p.rng.uniform(-5, 5)), free=False)
    names = [list(CORNERS)[int(i)] for i in p.rng.permutation(4)]
    kind = p.pick(("tin", "cube", "small ball", "gear"))
    colour = p.tint(kind)
    for i in (0, 1):
        p.add(f"in{i}", kind, (0.0, 0.0), colour, 0.0, on=("org", names[i]))
    p.add("loose", kind, p.jitter((-side * 0.28, 0.05), 0.03), colour)
    p.add("moved", p.pick(("can", "cone", "cricket ball", "small cube")), p.jitter((-side * 0.12, -0.24), 0.03))
    p.extras(1, ("drill", "ambulance", "barrel", "hydrant"))

    def ask(v: Voice) -> None:
        j, word, by, other = v.a.judge, v.word("loose"), v.word("org"), v.word("moved")
        held = all(j.holds(f"in{i}", "org", names[i]) for i in (0, 1)) and j.gap("loose", "org") > 0.08
        for i in (0, 1):
            v.take(
                f"in{i}",
                (f"the {word} in the {names[i]} compartment", f"the {word} in the {names[i]} compartment of the {by}"),
                "4 compartment",
                "3 in tray or bin",
                when=held,
            )
        v.take(
            "loose",
            (f"the {word} outside the {by}", f"the {word} that isn't in the {by}"),
            "3 in tray or bin",
            when=held,
        )
        for n in names[2:]:
            v.into(
                "moved", f"the {other}", "org", f"the {n} compartment of the {by}", "4 compartment", "5 in tray", room=n
            )
        v.aside(
            "loose", f"the {word} on the table", v.a.one(("in front of", "behind")), "moved", f"the {other}", when=held
        )
        v.deny(f"the {word}", "AMBIGUOUS")
        v.deny(f"the {word} in the {by}", "AMBIGUOUS", held)
        v.deny(f"the {other} in the {by}", *j.apart(("moved",), "org"))
        v.missing(f" in the {names[0]} compartment")

    return plan(p, ask, low=42, high=62, near=0.82, far=1.25, swing=22)


def rack(p: Planner) -> Plan:
    """Four compartments in a row, equal objects in two of them and one on the table."""
    side = p.sign()
    p.add("org", "rack", p.jitter((side * 0.1, 0.12), 0.02), turn=float(p.rng.uniform(-4, 4)), free=False)
    names = [NUMBERS[int(i)] for i in p.rng.permutation(4)]
    kind = p.pick(("tin", "small ball", "cube", "small cube"))
    colour = p.tint(kind)
    for i in (0, 1):
        p.add(f"in{i}", kind, (0.0, 0.0), colour, 0.0, on=("org", names[i]))
    p.add("loose", kind, p.jitter((-side * 0.3, -0.2), 0.03), colour)
    p.add("moved", p.pick(("cone", "can", "hydrant", "cricket ball")), p.jitter((side * 0.15, -0.22), 0.03))
    p.extras(1, ("drill", "bus", "trash can"))

    def ask(v: Voice) -> None:
        j, word, by, other = v.a.judge, v.word("loose"), v.word("org"), v.word("moved")
        held = all(j.holds(f"in{i}", "org", names[i]) for i in (0, 1)) and j.gap("loose", "org") > 0.08
        called = {n: f"the {n} compartment from the left" for n in NUMBERS}
        called |= {"first": "the leftmost compartment", "fourth": "the rightmost compartment"}
        for i in (0, 1):
            v.take(f"in{i}", f"the {word} in {called[names[i]]}", "4 compartment", "3 in tray or bin", when=held)
        for n in names[2:]:
            of = v.a.one(("", f" of the {by}")) if n in ("first", "fourth") else ""
            v.into("moved", f"the {other}", "org", called[n] + of, "4 compartment", "5 in tray", room=n)
        v.take("loose", f"the {word} that is not in the {by}", "3 in tray or bin", when=held)
        v.aside(
            "moved", f"the {other}", v.a.one(("left of", "right of")), "loose", f"the {word} on the table", when=held
        )
        v.deny(f"the {word}", "AMBIGUOUS")
        v.deny(f"the {word} in the {by}", "AMBIGUOUS", held)
        v.deny(f"the {other} in the {by}", *j.apart(("moved",), "org"))
        v.missing()

    return plan(p, ask, low=42, high=62, near=0.82, far=1.25, swing=22)


def steps(p: Planner) -> Plan:
    """A stand of three steps, equal objects on two of them and one on the table."""
    side = p.sign()
    p.add("stand", "steps", p.jitter((side * 0.18, 0.16), 0.02), turn=float(p.rng.uniform(-4, 4)), free=False)
    names = [LEVELS[int(i)] for i in p.rng.permutation(3)]
    kind = p.pick(("can", "cup", "cone", "hatchback_blue", "hydrant"))
    colour = p.tint(kind)
    for i in (0, 1):
        p.add(f"on{i}", kind, (float(p.rng.uniform(-0.12, 0.12)), 0.0), colour, 0.0, on=("stand", names[i]))
    p.add("loose", kind, p.jitter((-side * 0.32, -0.05), 0.03), colour, 0.0)
    p.add("moved", p.pick(("tin", "small ball", "cube", "gear")), p.jitter((side * 0.25, -0.24), 0.03))
    p.extras(1, ("drill", "bus", "trash can", "barrel"))

    def ask(v: Voice) -> None:
        j, word, by, other = v.a.judge, v.word("loose"), v.word("stand"), v.word("moved")
        on = all(j.holds(f"on{i}", "stand", names[i]) for i in (0, 1)) and j.gap("loose", "stand") > 0.08
        for i in (0, 1):
            v.take(
                f"on{i}",
                (f"the {word} on the {names[i]} step", f"the {word} from the {names[i]} step of the {by}"),
                "3 on step",
                "4 shelf level",
                when=on,
            )
        v.take(
            "loose", (f"the {word} that is not on the {by}", f"the {word} standing on the table"), "3 on step", when=on
        )
        v.into("moved", f"the {other}", "stand", f"the {names[2]} step", "4 shelf level", "5 on top", room=names[2])
        v.aside(
            "loose",
            f"the {word} on the table",
            v.a.one(("left of", "in front of", "right of")),
            "moved",
            f"the {other}",
            when=on,
        )
        v.then(
            "on0" if names[0] != "top" else "on1",
            f"the {word} on the {names[0] if names[0] != 'top' else names[1]} step",
            f"behind the {other}",
            j.beside("behind", "moved", ("on0",)),
            "3 on step",
            "4 shelf level",
            "5 behind",
            when=on,
        )
        v.deny(f"the {word}", "AMBIGUOUS")
        v.deny(f"the {word} on the {by}", "AMBIGUOUS", on)
        v.deny(f"the {other} on the {by}", *j.apart(("moved",), "stand"))
        v.deny(f"the {word} on the {names[2]} step", "RELATION_UNSATISFIED", on)
        v.missing(f" on the {names[0]} step")

    return plan(p, ask, low=24, high=46, near=0.95, far=1.35, aim=0.05, swing=22)
