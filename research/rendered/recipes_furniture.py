# SPDX-License-Identifier: Apache-2.0
"""Scenes with a cabinet with drawers, or with a shelf."""

from __future__ import annotations

from collections.abc import Callable

from research.rendered.kits import Plan, Planner, sized
from research.rendered.sentences import ON, SentenceMaker

STORED = ("red pepper", "bell pepper", "bowl")
"""What fits into a drawer or onto a shelf, a little smaller than it is."""


def _both(p: Planner, at: tuple[float, float], on: tuple[str, str], kinds: tuple[str, ...] = STORED) -> None:
    """A object in a piece of furniture and another one like it on the table."""
    kind = p.pick(kinds)
    item = sized(p.kit.items[kind], 0.8)
    colour = p.tint(kind)
    p.add("stored", item, (float(p.rng.uniform(-0.03, 0.03)), 0.0), colour, on=on)
    p.add("loose", item, p.jitter(at, 0.02), colour)


def drawers(opened: str) -> Callable[[Planner], Plan]:
    """A cabinet with the left, the right or both drawers pulled out; a pepper in one of them."""

    def recipe(p: Planner) -> Plan:
        side = float(p.rng.choice((-1.0, 1.0)))
        holding = str(p.rng.choice(("left", "right"))) if opened == "both" else opened
        shut = {"left": "right", "right": "left"}.get(opened)
        p.add("cabinet", f"cabinet {opened}", p.jitter((side * 0.2, 0.22), 0.02), None, 0.0, free=False)
        _both(p, (-side * 0.32, 0.02), ("cabinet", f"{holding} drawer"), STORED[:2])
        moved = p.add("moved", p.pick(("sugar bowl", "teacup")), p.jitter((-side * 0.42, -0.22), 0.03))
        if p.rng.random() < 0.5:
            p.add("above", p.pick(("saucer", "bowl")), (float(p.rng.uniform(-0.14, 0.14)), 0.0), on=("cabinet", "main"))
        p.add("plate", p.pick(("plate", "dinner plate", "board")), p.jitter((-side * 0.15, -0.23), 0.02), turn=0.0)

        def ask(a: SentenceMaker) -> None:
            word, other = a.noun("stored"), moved.item.word
            stored = a.judge.holds("stored", "cabinet", f"{holding} drawer") and a.judge.gap("loose", "cabinet") > 0.05
            part = a.judge.room("cabinet", f"{holding} drawer", f"cabinet/{holding} drawer", ("cabinet",))
            a.take(
                "stored",
                a.one((f"the {word} in the {holding} drawer", f"the {word} from the {holding} drawer")),
                "3 in drawer",
                "4 drawer order",
                when=stored,
            )
            a.take(
                "stored",
                f"the {word} in the drawer" if shut else f"the {word} in the cabinet drawer",
                "3 in drawer",
                when=stored,
            )
            if opened == "both":
                empty = {"left": "right", "right": "left"}[holding]
                part = a.judge.room("cabinet", f"{empty} drawer", f"cabinet/{empty} drawer", ("cabinet",))
                a.put(
                    "loose",
                    f"the {word} that is on the table",
                    f"{a.one(('in', 'into'))} the {empty} drawer",
                    part,
                    "4 drawer order",
                    "5 in drawer",
                    when=stored and a.judge.on_table("loose"),
                )
                a.refuse(f"put the {other} in the drawer", "AMBIGUOUS")
                a.say(f"cabinet/{empty} drawer", f"close the {empty} drawer", "4 drawer order")
            else:
                a.refuse(f"put the {other} in the {shut} drawer", "NO_PLACE")
                a.say(f"cabinet/{shut} drawer", f"open the {shut} drawer", "4 drawer order")
                a.say(f"cabinet/{opened} drawer", f"close the {opened} drawer of the cabinet", "4 drawer order")
            a.say("cabinet/left door", a.one(("open the left door", "open the left door of the cabinet")), "1 left")
            top = a.judge.room("cabinet", "main")
            if "above" in a.objects:
                a.take(
                    "above",
                    f"the {a.noun('above')} on {a.one(('the', 'top of the'))} cabinet",
                    "3 on top",
                    when=a.judge.holds("above", "cabinet", "main"),
                )
            a.put("moved", f"the {other}", "on top of the cabinet", top, "5 on top", when="above" not in a.objects)
            a.put(
                "loose",
                f"the {word} that is on the table",
                f"on the {a.noun('plate')}",
                a.judge.room("plate", "main"),
                "5 on plate",
                when=stored and a.judge.on_table("loose"),
            )
            a.refuse_take(
                f"the {other} {a.one(('in the drawer', 'in the cabinet', 'on the cabinet'))}",
                *a.judge.apart(("moved",), "cabinet"),
            )
            a.refuse_take(f"the {word}", "AMBIGUOUS")
            a.refuse("open the door", "AMBIGUOUS", p.rng.random() < 0.4)

        return Plan(p.objects, ask, low=48, high=62, aim=0.22, near=1.2, far=1.5, loose=frozenset({"stored"}))

    return recipe


def shelves(p: Planner) -> Plan:
    """An open shelf of three levels with objects on two of them."""
    side = float(p.rng.choice((-1.0, 1.0)))
    p.add("shelf", "shelf", p.jitter((side * 0.22, 0.24), 0.02), p.tint("shelf"), 0.0, free=False)
    lower, upper = [("bottom", "middle"), ("bottom", "top"), ("middle", "top")][int(p.rng.integers(3))]
    _both(p, (-side * 0.3, 0.0), ("shelf", upper))
    p.add("under", p.pick(("teacup", "sugar bowl")), (float(p.rng.uniform(-0.08, 0.08)), 0.0), on=("shelf", lower))
    p.add("moved", p.pick(("plate", "saucer", "red pepper", "bowl")), p.jitter((-side * 0.35, -0.24), 0.03))
    p.add("plate", p.pick(("dinner plate", "board")), p.jitter((side * 0.1, -0.22), 0.02), turn=0.0)

    def ask(a: SentenceMaker) -> None:
        word, other, lower_word = a.noun("stored"), a.noun("moved"), a.noun("under")
        stored = a.judge.holds("stored", "shelf", upper) and a.judge.gap("loose", "shelf") > 0.06
        below = a.judge.holds("under", "shelf", lower)
        a.take(
            "stored",
            f"the {word} {a.one(('on', 'from'))} the {upper} shelf",
            "3 on shelf",
            "4 shelf level",
            when=stored,
        )
        a.take("stored", f"the {word} {a.one(('on', 'from'))} the shelf", "3 on shelf", when=stored)
        a.then(
            "under",
            f"the {lower_word} from the {lower} shelf",
            f"on the {a.noun('plate')}",
            a.judge.room("plate", "main"),
            "3 on shelf",
            "4 shelf level",
            "5 on plate",
            when=below and a.judge.empty("plate", "main"),
        )
        empty = ({"bottom", "middle", "top"} - {lower, upper}).pop()
        if empty != "top":  # "the top shelf" might be the top of the whole
            a.put(
                "moved",
                f"the {other}",
                f"on the {empty} shelf",
                a.judge.room("shelf", empty),
                "4 shelf level",
                "5 on top",
                when=a.judge.empty("shelf", empty),
            )
        a.put(
            "moved",
            f"the {other}",
            "on top of the shelf",
            a.judge.room("shelf", "main"),
            "5 on top",
            when=a.judge.fits("moved", "shelf", "top"),
        )
        a.take("loose", f"the {word} on the table", "3 on top", when=stored and a.judge.on_table("loose"))
        a.beside(
            "loose",
            f"the {word} that is not on the shelf",
            a.one(("left of", "in front of", "right of")),
            "moved",
            when=stored,
        )
        a.refuse_take(f"the {other} on the shelf", *a.judge.apart(("moved",), "shelf"))
        a.refuse_take(f"the {word}", "AMBIGUOUS")
        a.refuse_take(
            f"the {a.one(('banana', 'candle', 'phone'))} on the {a.one((upper + ' shelf', 'shelf'))}", "NOT_FOUND"
        )

    return Plan(p.objects, ask, low=22, high=36, aim=0.2, near=1.2, far=1.5)


def stools(p: Planner) -> Plan:
    """A object on a stool, a crate, and objects about."""
    side = float(p.rng.choice((-1.0, 1.0)))
    p.add("stool", "stool", p.jitter((side * 0.25, 0.1), 0.03), turn=float(p.rng.uniform(-3, 3)), free=False)
    p.add("crate", "crate", p.jitter((-side * 0.28, 0.14), 0.03), turn=0.0, free=False)
    kind = p.pick(("red pepper", "teacup", "bowl"))
    item, colour = p.kit.items[kind], p.tint(kind)
    p.add("above", item, (0.0, 0.0), colour, on=("stool", "main"))
    p.add("loose", item, p.jitter((0.05 * side, -0.2), 0.03), colour)
    filled = p.rng.random() < 0.6
    if filled:
        p.add("held", sized(item, 0.9), (0.04, 0.0), colour, on=("crate", "main"))
    p.add("moved", p.pick(("sugar bowl", "saucer", "bell pepper", "teapot")), p.jitter((side * 0.4, -0.22), 0.03))

    def ask(a: SentenceMaker) -> None:
        word, other = a.noun("above"), a.noun("moved")
        on = a.judge.holds("above", "stool", "main")
        bin_word = a.one(("crate", "bin", "plastic bin"))
        a.take("above", f"the {word} {a.one(ON[:2])} the stool", "3 on top", when=on)
        if filled:
            held = a.judge.holds("held", "crate", "main")
            a.take(
                "held",
                f"the {word} {a.one(('in', 'inside'))} the {bin_word}",
                "3 in tray or bin",
                *(("2 label differs",) if bin_word != "crate" else ()),
                when=held,
            )
        else:
            a.refuse_take(f"the {word} in the crate", *a.judge.apart(("above", "loose"), "crate"))
        a.put(
            "loose",
            f"the {word} that is on the table",
            f"{a.one(('in', 'into'))} the {bin_word}",
            a.judge.room("crate", "main"),
            "5 in crate",
            when=on and a.judge.on_table("loose"),
        )
        a.then(
            "above",
            f"the {word} from the stool",
            f"in the {bin_word}",
            a.judge.room("crate", "main"),
            "3 on top",
            "5 in crate",
            when=on,
        )
        a.beside(
            "above",
            f"the {word} that is on the stool",
            a.one(("left of", "right of", "in front of")),
            "moved",
            "3 on top",
            when=on,
        )
        a.refuse_take(
            f"the {other} {a.one(('on the stool', 'in the crate'))}",
            "RELATION_UNSATISFIED",
            a.judge.far_apart(("moved",), "stool") and a.judge.far_apart(("moved",), "crate"),
        )
        a.refuse_take(f"the {word}", "AMBIGUOUS")

    return Plan(p.objects, ask, low=36, high=56, aim=0.1, near=1.1, far=1.4, loose=frozenset({"held"}))
