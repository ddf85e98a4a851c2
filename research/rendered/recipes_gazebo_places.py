# SPDX-License-Identifier: Apache-2.0
"""Scenes of Gazebo's objects about what lies on and in others, where to put objects, and parts of the table."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from research.rendered.gazebo_speech import Voice
from research.rendered.judge import Place
from research.rendered.kits import Plan, Planner
from research.rendered.meshes import box
from research.rendered.recipes_gazebo import plan


def on_boxes(p: Planner) -> Plan:
    """Equal objects on a carton, on a closed tote and on the table."""
    side = p.sign()
    p.add("carton", "carton", p.jitter((-side * 0.3, 0.15), 0.02), None, float(p.rng.uniform(-8, 8)), free=False)
    p.add("tote", "tote", p.jitter((side * 0.26, 0.17), 0.02), None, float(p.rng.uniform(-6, 6)), free=False)
    kind = p.pick(("can", "gear", "cone", "cup", "hatchback_red", "bowl"))
    colour = p.tint(kind)
    p.add("first", kind, (0.0, 0.0), colour, on=("carton", "main"))
    both = p.rng.random() < 0.5
    if both:
        p.add("second", kind, (0.03, 0.0), colour, on=("tote", "main"))
    p.add("loose", kind, p.jitter((-side * 0.1, -0.2), 0.03), colour)
    p.add("holder", p.pick(("plate", "pallet", "mat")), p.jitter((side * 0.33, -0.2), 0.02), turn=0.0, free=False)
    p.add("moved", p.pick(("drill", "ambulance", "hydrant", "pulley")), p.jitter((-side * 0.42, -0.22), 0.02))

    def ask(v: Voice) -> None:
        j, word = v.a.judge, v.word("loose")
        low, by, other = v.word("tote"), v.word("holder"), v.word("moved")
        on = (
            j.holds("first", "carton", "main")
            and j.on_table("loose")
            and min(j.gap("loose", "carton"), j.gap("loose", "tote")) > 0.08
        )
        v.take(
            "first",
            (
                f"the {word} on the cardboard box",
                f"the {word} on top of the cardboard box",
                f"the {word} sitting on the cardboard box",
            ),
            "3 on box",
            when=on,
        )
        v.take("loose", (f"the {word} standing on the table", f"the {word} on the table"), "3 on top", when=on)
        if both:
            v.take(
                "second",
                (f"the {word} on the {low}", f"the {word} on top of the {low}"),
                "3 on top",
                when=on and j.holds("second", "tote", "main"),
            )
        else:
            v.into("loose", f"the {word} that is on the table", "tote", f"the {low}", "3 on top", "5 on top", when=on)
            v.deny(f"the {word} on the {low}", "RELATION_UNSATISFIED", on and j.gap("first", "tote") > 0.1)
        v.then(
            "first",
            f"the {word} from the cardboard box",
            f"on the {by}",
            j.room("holder", "main"),
            "3 on box",
            "5 on plate",
            when=on and j.empty("holder", "main"),
        )
        v.aside("moved", f"the {other}", v.a.one(("in front of", "left of", "right of")), "carton", "the cardboard box")
        v.deny(f"the {word}", "AMBIGUOUS")
        v.deny(f"the {other} on the {low}", *j.apart(("moved",), "tote"))
        v.missing(" on the cardboard box")
        v.deny_put(f"the {word}", f"the {by}", False, "AMBIGUOUS")

    return plan(p, ask, low=26, high=48, aim=0.06, near=1.0, far=1.4, swing=22)


def crate(p: Planner) -> Plan:
    """A wooden crate with one of two equal objects in it, a bowl, and other objects about."""
    side = p.sign()
    p.add("crate", "wooden case", p.jitter((side * 0.25, 0.08), 0.03), None, float(p.rng.uniform(-10, 10)), free=False)
    kind = p.pick(("cricket ball", "cube", "hatchback_blue", "tin", "can"))
    colour = p.tint(kind)
    p.add("held", kind, (0.05 * p.sign(), 0.0), colour, on=("crate", "main"))
    p.add("loose", kind, p.jitter((-side * 0.05, -0.22), 0.03), colour)
    p.add("bowl", "bowl", p.jitter((-side * 0.3, 0.1), 0.03), free=False)
    p.add("moved", p.pick(("gear", "cone", "small ball", "large cube", "cup")), p.jitter((-side * 0.42, -0.2), 0.02))
    p.extras(1, ("drill", "barrel", "trash can", "camera"))

    def ask(v: Voice) -> None:
        j, word, other = v.a.judge, v.word("held"), v.word("moved")
        by = v.a.one(("wooden crate", "crate", "wooden box"))
        held = j.holds("held", "crate", "main") and j.on_table("loose") and j.gap("loose", "crate") > 0.08
        v.take(
            "held",
            (f"the {word} in the {by}", f"the {word} inside the {by}", f"the {word} that's in the {by}"),
            "3 in tray or bin",
            when=held,
        )
        v.take(
            "loose",
            (f"the {word} outside the {by}", f"the {word} that isn't in the {by}"),
            "3 in tray or bin",
            when=held,
        )
        v.then(
            "held",
            f"the {word} out of the {by}",
            "in the bowl",
            j.room("bowl", "main"),
            "3 in tray or bin",
            "5 in bowl",
            when=held and j.fits("held", "bowl"),
        )
        v.onto(
            "moved", f"the {other}", f"the {by}", j.room("crate", "main"), "5 in crate", when=j.reach("moved") < 0.055
        )
        v.into("moved", f"the {other}", "bowl", "the bowl", "5 in bowl")
        v.aside("moved", f"the {other}", v.a.one(("behind", "in front of", "right of", "left of")), "bowl", "the bowl")
        v.deny(f"the {word}", "AMBIGUOUS")
        v.deny(f"the {word} in the bowl", *j.apart(("held", "loose"), "bowl"))
        v.deny(f"the {other} inside the {by}", *j.apart(("moved",), "crate"))
        v.missing(f" in the {by}")

    return plan(p, ask, low=36, high=60, near=0.82, far=1.3, swing=22)


def workbench(p: Planner) -> Plan:
    """Different tools and parts, some of which people call otherwise than detectors do."""
    side = p.sign()
    p.add("drill", "drill", p.jitter((-side * 0.32, 0.05), 0.03), None)
    p.add("gear", "gear", p.jitter((-side * 0.05, -0.2), 0.03))
    p.add("stone", "cinder block", p.jitter((side * 0.28, 0.06), 0.02), None, float(p.rng.uniform(-15, 15)))
    p.add("extra", p.pick(("pulley", "tin", "can", "barrel")), p.jitter((side * 0.38, -0.24), 0.02))
    p.add("camera", "camera", p.jitter((-side * 0.02, 0.27), 0.02), turn=float(p.rng.uniform(-10, 10)))

    def ask(v: Voice) -> None:
        j, other = v.a.judge, v.word("extra")
        v.take("drill", ("the power drill", "the drill", "the red drill"), "2 label differs")
        v.take("gear", "the cogwheel", "2 label differs")
        v.around(
            "gear",
            "the gear",
            "between the drill and the cinder block",
            j.between("drill", "stone", ("gear",)),
            "5 between",
        )
        v.aside("gear", f"the {v.word('gear')}", v.a.one(("left of", "right of")), "extra", f"the {other}")
        v.aside("extra", f"the {other}", v.a.one(("in front of", "behind")), "drill", f"the {v.word('drill')}")
        v.aside("extra", f"the {other}", "in front of", "camera", "the camera")
        v.around(
            "gear",
            "the gear",
            f"{v.a.one(('next to', 'beside', 'near'))} the cinder block",
            j.around("stone", ("gear",)),
            "5 next to",
        )
        v.deny(f"the {v.a.one(('screwdriver', 'hammer', 'pair of pliers'))}", "NOT_FOUND")
        v.deny(f"the {other} on the cinder block", *j.apart(("extra",), "stone"))
        v.deny("the gear on top of the camera", *j.apart(("gear",), "camera"))
        v.a.refuse(f"place the {other} behind the {v.a.one(('toolbox', 'saw'))}", "NOT_FOUND")

    return plan(p, ask, low=28, high=58, near=0.82, far=1.3, swing=22)


def full(p: Planner) -> Plan:
    """A tray full of blocks, an empty plate, and something to be put away."""
    side = p.sign()
    p.add("tray", "full tray", p.jitter((-side * 0.2, 0.08), 0.03), turn=float(p.rng.uniform(-5, 5)), free=False)
    block = replace(
        p.kit.items["cube"],
        mesh=box((-0.032, -0.038, 0), (0.032, 0.038, 0.045)),
        colour=None,
        colours=("red", "blue", "green", "yellow"),
        said=("block",),
        label="wooden block",
    )
    tones = [("red", "blue", "green", "yellow")[int(i)] for i in p.rng.integers(4, size=6)]
    for k, tone in enumerate(tones):
        p.add(f"full{k}", block, (-0.069 + 0.069 * (k % 3), -0.041 + 0.082 * (k // 3)), tone, 0.0, on=("tray", "main"))
    p.add("plate", p.pick(("plate", "bowl")), p.jitter((side * 0.26, 0.12), 0.02), free=False)
    p.add("moved", p.pick(("small ball", "tin", "gear", "cricket ball")), p.jitter((side * 0.12, -0.2), 0.03))
    p.extras(2, ("barrel", "hydrant", "hatchback", "drill"))

    def ask(v: Voice) -> None:
        j, word, by = v.a.judge, v.word("moved"), v.word("plate")
        inside = by == "bowl"
        v.into("moved", f"the {word}", "plate", f"the {by}", "5 in bowl" if inside else "5 on plate")
        v.aside("moved", f"the {word}", v.a.one(("in front of", "right of", "left of")), "tray", "the tray")
        v.aside("moved", f"the {word}", v.a.one(("in front of", "behind")), "plate", f"the {by}")
        v.around(
            "moved",
            f"the {word}",
            f"between the tray and the {by}",
            j.between("tray", "plate", ("moved",)),
            "5 between",
        )
        single = [k for k in range(6) if tones.count(tones[k]) == 1]
        for k in single[:2]:
            v.take(f"full{k}", f"the {tones[k]} block", "2 colour")
        ask_for = v.a.one(
            ("put the {} in the tray", "set the {} down on the tray", "could you put the {} in the tray?")
        )
        v.a.refuse(ask_for.format(word), "NO_PLACE")  # "on top of" might mean on the blocks
        v.deny("the block", "AMBIGUOUS")

    return plan(p, ask, low=40, high=62, near=0.85, far=1.2, swing=22)


def two_bowls(p: Planner) -> Plan:
    """Two equal bowls or plates, one behind the other or side by side, and what may go there."""
    kind, deep = p.pick(("bowl", "plate")), p.rng.random() < 0.5
    colour, gap = p.tint(kind), 0.17
    for name, s in (("one", -1.0), ("two", 1.0)):
        p.add(name, kind, p.jitter((0.12, gap * s) if deep else (0.24 * s, 0.1), 0.015), colour, free=False)
    p.add("moved", p.pick(("small ball", "cricket ball", "cube", "tin", "can")), p.jitter((-0.28, -0.18), 0.03))
    p.extras(3, ("drill", "ambulance", "cone", "carton", "camera"))

    def ask(v: Voice) -> None:
        j, word, by = v.a.judge, v.word("moved"), v.word("one")
        order = j.row(("one", "two"), 1 if deep else 0)
        if order is None:
            return
        first, last = ("front", "back") if deep else ("left", "right")
        to = "5 in bowl" if kind == "bowl" else "5 on plate"
        v.into("moved", f"the {word}", order[0], f"the {first} {by}", to, f"1 {first}")
        v.into(
            "moved", f"the {word}", order[1], f"the {by} {'at the back' if deep else 'on the right'}", to, f"1 {last}"
        )
        v.around(
            "moved",
            f"the {word}",
            f"between the two {v.a.objects['one'].item.words}",
            j.between("one", "two", ("moved",)),
            "5 between",
        )
        v.take(order[1], (f"the {by} on the {last}",) if not deep else (f"the {by} at the back",), f"1 {last}")
        v.take(order[0], f"the {first} {by}", f"1 {first}")
        v.aside(
            "moved",
            f"the {word}",
            v.a.one(("left of", "right of") if deep else ("behind", "in front of")),
            order[0],
            f"the {first} {by}",
        )
        v.deny_put(f"the {word}", f"the {by}", kind == "bowl", "AMBIGUOUS")
        v.deny(f"the {by}", "AMBIGUOUS")
        v.deny(
            f"the {word} {'in' if kind == 'bowl' else 'on'} the {first} {by}",
            "RELATION_UNSATISFIED",
            j.far_apart(("moved",), "one") and j.far_apart(("moved",), "two"),
        )

    return plan(p, ask, low=30, high=58, near=0.82, far=1.25, swing=22)


def zones(p: Planner) -> Plan:
    """Equal objects at a corner, at the back edge and in the middle of a table that is all in sight."""
    side, kind = p.sign(), p.pick(("can", "cup", "cone", "tin", "hydrant"))
    colour = p.tint(kind)
    p.add("corner", kind, p.jitter((side * 0.52, -0.32), 0.012), colour)
    p.add("back", kind, p.jitter((-side * 0.12, 0.33), 0.012), colour)
    used = p.rng.random() < 0.5
    if used:
        p.add("centre", kind, p.jitter((0.0, 0.0), 0.012), colour)
    p.add("moved", p.pick(("cricket ball", "hatchback_red", "gear", "bowl")), p.jitter((-side * 0.35, 0.08), 0.03))
    p.add("other", p.pick(("drill", "bus", "barrel")), p.jitter((side * 0.4, 0.15), 0.03))

    def ask(v: Voice) -> None:
        j, word, other = v.a.judge, v.word("corner"), v.word("moved")
        if not j.whole_table():
            return
        v.take(
            "corner",
            (
                f"the {word} in the corner of the table",
                f"the {word} at the corner",
                f"the {word} in the front {'right' if side > 0 else 'left'} corner",
            ),
            "4 table part",
        )
        v.take(
            "back",
            (
                f"the {word} at the back edge of the table",
                f"the {word} at the back of the table",
                f"the {word} at the far edge of the table",
            ),
            "4 table part",
        )
        if used:
            v.take(
                "centre",
                (f"the {word} in the middle of the table", f"the {word} at the center of the table"),
                "4 table part",
            )
        else:
            v.around(
                "moved",
                f"the {other}",
                v.a.one(("in the middle of the table", "in the center of the table")),
                j.table_middle(("moved",)),
                "4 table part",
            )
            v.deny(f"the {word} in the middle of the table", "RELATION_UNSATISFIED")
        v.then(
            "back",
            f"the {word} at the back edge of the table",
            f"to the {'right' if side < 0 else 'left'} of the {v.word('other')}",
            j.beside("right of" if side < 0 else "left of", "other", ("back",)),
            "4 table part",
            "5 side",
        )
        v.aside(
            "moved", f"the {other}", v.a.one(("left of", "in front of", "right of")), "other", f"the {v.word('other')}"
        )
        corner = Place("on", "table", np.array([-side * 0.5, -0.3, 0.0]), np.array([0.1, 0.1, 0.0]))
        v.around(
            "moved",
            f"the {other}",
            f"in the front {'left' if side > 0 else 'right'} corner of the table",
            corner if j.free(np.array([-side * 0.5, -0.3]), {"moved"}) else None,
            "4 table part",
        )
        v.deny(f"the {word}", "AMBIGUOUS")
        v.missing()
        v.other_colour(("corner", "back"), word)

    return plan(p, ask, low=44, high=62, near=1.35, far=1.5, aim=0.0, whole=True)
