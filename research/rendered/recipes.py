# SPDX-License-Identifier: Apache-2.0
"""Scenes of equal objects, of contrasts and of objects on and in others."""

from __future__ import annotations

from collections.abc import Sequence

from research.rendered.items import PlacedItem
from research.rendered.kits import Plan, Planner, sized
from research.rendered.sentences import IN, ON, SentenceMaker

ORDINALS = ("first", "second", "third", "fourth")


def _row(p: Planner, start: tuple[float, float], step: tuple[float, float], n: int) -> list[PlacedItem]:
    """N equal objects of one colour in a row, near the places start + i step."""
    kind = p.pick(p.kit.equal)
    colour, turn = p.tint(kind), float(p.rng.uniform(-180, 180))
    return [
        p.add(
            f"row{i}",
            kind,
            p.jitter((start[0] + i * step[0], start[1] + i * step[1]), 0.01),
            colour,
            turn + float(p.rng.uniform(-20, 20)),
        )
        for i in range(n)
    ]


def _aside(p: Planner, at: tuple[float, float]) -> PlacedItem:
    """A vessel or a plate in which or on which objects can be put."""
    kind = p.pick(p.kit.vessels + p.kit.flats)
    return p.add("aside", kind, p.jitter(at), turn=float(p.rng.uniform(-3, 3)))


def _into(
    a: SentenceMaker, name: str, phrase: str, holder: PlacedItem, *kinds: str, then: bool = False, to: str | None = None
) -> None:
    """Asks to put an object into or onto an empty holder."""
    room = holder.item.rooms["main"]
    inside = room.relation == "inside"
    label = holder.item.label
    kind = (
        "5 in bowl"
        if inside and label in ("bowl", "cup", "frying pan")
        else "5 in crate"
        if inside
        else "5 in tray"
        if label == "tray"
        else "5 on plate"
    )
    if label in ("stool", "cardboard box", "soda carton", "block", "wooden pallet", "cutting board", "wooden board"):
        kind = "5 on top"
    where = f"{a.one(IN if inside else ON)} the {to or holder.item.word}"
    place = a.judge.room(holder.name, "main")
    (a.then if then else a.put)(
        name,
        phrase,
        where,
        place,
        *kinds,
        kind,
        when=a.judge.empty(holder.name, "main") and a.judge.well_seen(holder.name) and a.judge.fits(name, holder.name),
    )


def across(p: Planner) -> Plan:
    """Three or four equal objects from left to right."""
    n = 3 + int(p.rng.integers(2))
    step = 0.2 if n == 3 else 0.17
    row = _row(p, (-step * (n - 1) / 2, -0.1 + float(p.rng.uniform(-0.05, 0.05))), (step, 0.0), n)
    aside = _aside(p, (0.32 * (1 if p.rng.random() < 0.5 else -1), 0.2))
    p.fill(2)

    def ask(a: SentenceMaker) -> None:
        names, word = [t.name for t in row], row[0].item.word
        order = a.judge.row(names, 0)
        if order is None:
            return
        a.take(order[0], a.one((f"the leftmost {word}", f"the {word} on the left", f"the left {word}")), "1 left")
        a.take(
            order[-1],
            a.one((f"the rightmost {word}", f"the {word} on the far right", f"the {word} furthest to the right")),
            "1 right",
        )
        if n == 3:
            a.take(order[1], a.one((f"the middle {word}", f"the {word} in the middle")), "1 middle across")
            _into(a, order[1], f"the middle {word}", aside, "1 middle across")
        else:
            k = int(p.rng.integers(1, 3))
            a.take(order[k], f"the {ORDINALS[k]} {word} from the left", "1 ordinal")
            a.take(order[-2], f"the {ORDINALS[1]} {word} from the right", "1 ordinal")
            _into(a, order[0], f"the leftmost {word}", aside, "1 left")
        a.refuse_take(f"the {word}", "AMBIGUOUS")
        a.wrong_colour(names)
        inside = aside.item.rooms["main"].relation == "inside"
        a.refuse_take(f"the {word} {'in' if inside else 'on'} the {aside.item.word}", *a.judge.apart(names, aside.name))

    return Plan(p.objects, ask)


def away(p: Planner) -> Plan:
    """Three equal objects one behind the other, or from one corner to the other."""
    slant = float(p.rng.choice((0.0, 0.13, -0.13)))
    row = _row(p, (-slant, -0.22), (slant, 0.19), 3)
    side = 0.36 if slant <= 0 else -0.36
    aside = _aside(p, (side, -0.05))
    p.fill(2)

    def ask(a: SentenceMaker) -> None:
        names, word = [t.name for t in row], row[0].item.word
        order = a.judge.row(names, 1)
        if order is None:
            return
        middle = "1 middle diagonal" if slant else "1 middle depth"
        a.take(order[0], a.one((f"the front {word}", f"the closest {word}", f"the nearest {word}")), "1 front")
        a.take(
            order[2], a.one((f"the {word} at the back", f"the farthest {word}", f"the {word} farthest away")), "1 back"
        )
        a.take(order[1], a.one((f"the middle {word}", f"the {word} in the middle")), middle)
        _into(a, order[0], f"the front {word}", aside, "1 front")
        a.beside(order[1], f"the middle {word}", a.one(("left of", "right of")), aside.name, middle)
        a.refuse_take(f"the {word}", "AMBIGUOUS")
        a.absent()

    return Plan(p.objects, ask, low=34)


def colours(p: Planner) -> Plan:
    """Three of a kind in three colours."""
    kind = p.pick([k for k in p.kit.equal if len(p.kit.items[k].colours) >= 3])
    tones: list[str | None] = []
    row = []
    for x, y in ((-0.25, -0.05), (0.02, 0.12), (0.27, -0.1)):
        tones.append(p.tint(kind, tones))
        row.append(p.add(f"row{len(tones)}", kind, p.jitter((x, y), 0.02), tones[-1]))
    aside = _aside(p, (0.02, -0.2))
    p.fill(2)

    def ask(a: SentenceMaker) -> None:
        names, word = [t.name for t in row], row[0].item.word
        a.take(names[0], f"the {tones[0]} {word}", "2 colour")
        _into(a, names[1], f"the {tones[1]} {word}", aside, "2 colour")
        a.beside(
            names[1],
            f"the {tones[1]} {word}",
            a.one(("left of", "right of", "in front of", "behind")),
            names[2],
            "2 colour",
            to=f"{tones[2]} {word}",
        )
        a.put(
            names[2],
            f"the {tones[2]} {word}",
            f"{a.one(('next to', 'beside', 'near'))} the {tones[0]} {word}",
            a.judge.around(names[0], (names[2],)),
            "2 colour",
            "5 next to",
        )
        a.refuse_take(f"the {word}", "AMBIGUOUS")
        a.wrong_colour(names)
        a.absent()

    return Plan(p.objects, ask)


def sizes(p: Planner) -> Plan:
    """A large and a small one of a kind."""
    kind = p.pick(p.kit.sized)
    colour = p.tint(kind)
    big = p.add("big", sized(p.kit.items[kind], 1.25), p.jitter((-0.2, 0.0), 0.04), colour)
    p.add("small", sized(p.kit.items[kind], 0.72), p.jitter((0.15, -0.05), 0.04), colour)
    aside = _aside(p, (0.35, 0.2))
    p.fill(3)

    def ask(a: SentenceMaker) -> None:
        word = big.item.word
        a.take("big", a.one((f"the big {word}", f"the larger {word}", f"the large {word}")), "2 size")
        a.take("small", a.one((f"the small {word}", f"the smaller {word}", f"the little {word}")), "2 size")
        a.beside("small", f"the small {word}", a.one(("left of", "right of")), aside.name, "2 size")
        a.beside("small", f"the small {word}", a.one(("in front of", "right of")), "big", "2 size", to=f"big {word}")
        a.refuse_take(f"the {word}", "AMBIGUOUS")
        a.absent()

    return Plan(p.objects, ask)


def neighbours(p: Planner) -> Plan:
    """Two equal objects, one of them next to something."""
    kind = p.pick(p.kit.equal)
    colour = p.tint(kind)
    p.add("near", kind, p.jitter((0.2, 0.0), 0.02), colour)
    p.add("far", kind, p.jitter((-0.34, -0.08), 0.03), colour)
    anchor = p.pick(p.kit.bulky + p.kit.tops)
    reach = (
        max(float(p.kit.items[anchor].mesh.size[0]), float(p.kit.items[anchor].mesh.size[1])) / 2
        + max(p.kit.items[kind].mesh.size[:2]) / 2
    )
    p.add("anchor", anchor, (0.2 + reach + 0.035, 0.03), turn=0.0)
    other = p.add("other", p.pick(p.kit.small), p.jitter((-0.08, 0.24), 0.03))
    p.fill(1)

    def ask(a: SentenceMaker) -> None:
        word, by, third = a.noun("near"), a.noun("anchor"), other.item.word
        near = a.judge.next_to("near", "anchor", ("far",))
        a.take("near", f"the {word} {a.one(('next to', 'by', 'beside'))} the {by}", "2 next to", when=near)
        a.then(
            "near",
            f"the {word} next to the {by}",
            f"to the left of the {third}",
            a.judge.beside("left of", "other", ("near",)),
            "2 next to",
            "5 side",
            when=near,
        )
        a.take(
            "far",
            a.one((f"the {word} that is far from the {by}", f"the {word} that is not next to the {by}")),
            "2 next to",
            when=near,
        )
        a.beside(
            "other",
            f"the {third}",
            a.one(("in front of", "left of")),
            "far",
            to=f"left {word}",
            when=a.judge.row(("near", "far"), 0) is not None,
        )
        a.refuse_take(
            f"the {word} {a.one(('next to', 'beside'))} the {third}", *a.judge.apart(("near", "far"), "other")
        )
        a.refuse_take(f"the {word}", "AMBIGUOUS")
        a.refuse_take(f"the {a.one(('banana', 'stapler', 'candle'))} next to the {by}", "NOT_FOUND")

    return Plan(p.objects, ask)


def stacked(p: Planner) -> Plan:
    """One of two equal objects stands on a box; a plate or bowl waits."""
    base = p.add("base", p.pick(p.kit.tops), p.jitter((-0.2, 0.08), 0.03), turn=float(p.rng.uniform(-3, 3)))
    kind = p.pick([k for k in p.kit.small if max(p.kit.items[k].mesh.size[:2]) < 0.145])
    colour = p.tint(kind)
    p.add("above", kind, (0.0, 0.0), colour, on=("base", "main"))
    p.add("below", kind, p.jitter((0.24, -0.15), 0.03), colour)
    aside = _aside(p, (0.2, 0.16))
    p.fill(2)

    def ask(a: SentenceMaker) -> None:
        word, by = a.noun("above"), base.item.word
        on = a.judge.holds("above", "base", "main") and a.judge.on_table("below") and a.judge.gap("below", "base") > 0.1
        kind = "3 on top" if base.item.label == "stool" else "3 on box"
        a.take(
            "above",
            a.one((f"the {word} on the {by}", f"the {word} on top of the {by}", f"the {word} standing on the {by}")),
            kind,
            when=on,
        )
        a.take("below", a.one((f"the {word} on the table", f"the {word} that is not on the {by}")), kind, when=on)
        if on:
            _into(a, "above", f"the {word} from the {by}", aside, kind, then=True)
            _into(a, "below", f"the {word} that is on the table", aside, kind)
        a.refuse_take(f"the {word}", "AMBIGUOUS")
        inside = aside.item.rooms["main"].relation == "inside"
        a.refuse_take(
            f"the {word} {'in' if inside else 'on'} the {aside.item.word}", *a.judge.apart(("above", "below"), "aside")
        )
        a.absent()

    return Plan(p.objects, ask)


def contained(p: Planner) -> Plan:
    """One of two equal objects lies in a bowl or on a plate."""
    holder = p.add(
        "holder",
        p.pick(p.kit.vessels + p.kit.flats + p.kit.bins),
        p.jitter((-0.22, 0.05), 0.03),
        turn=float(p.rng.uniform(-3, 3)),
        free=False,
    )
    room = holder.item.rooms["main"]
    fits = [
        k
        for k in p.kit.small
        if max(p.kit.items[k].mesh.size[:2]) < (0.11 if room.relation == "on" or room.hx > 0.06 else 0.085)
    ]
    kind = p.pick(fits)
    colour = p.tint(kind)
    p.add("held", kind, (0.0, 0.0), colour, on=("holder", "main"))
    p.add("loose", kind, p.jitter((0.22, -0.12), 0.03), colour)
    aside = _aside(p, (0.24, 0.18))
    p.fill(2)

    def ask(a: SentenceMaker) -> None:
        word, by = a.noun("held"), holder.item.word
        held = (
            a.judge.holds("held", "holder", "main")
            and a.judge.on_table("loose")
            and a.judge.gap("loose", "holder") > 0.08
        )
        inside = room.relation == "inside"
        at, kind = ("in", "3 in tray or bin") if inside else ("on", "3 on plate")
        a.take("held", f"the {word} {at} the {by}", kind, when=held)
        if held:
            _into(a, "held", f"the {word} {'out of' if inside else 'from'} the {by}", aside, kind, then=True)
        a.take("loose", f"the {word} that is not {at} the {by}", kind, when=held)
        a.take(
            "loose",
            f"the {word} {a.one(('next to', 'by'))} the {aside.item.word}",
            "2 next to",
            when=held and a.judge.next_to("loose", "aside", ("held",)),
        )
        a.refuse_take(f"the {word}", "AMBIGUOUS")
        other = "in" if aside.item.rooms["main"].relation == "inside" else "on"
        a.refuse_take(f"the {word} {other} the {aside.item.word}", *a.judge.apart(("held", "loose"), "aside"))
        a.refuse_take(f"the {a.one(('banana', 'sponge', 'candle'))} {at} the {by}", "NOT_FOUND")

    return Plan(p.objects, ask, low=34, loose=frozenset({"held"}))


def say_it_otherwise(p: Planner) -> Plan:
    """PlacedItems that people call by another word than the detector."""
    names: Sequence[str] = list(p.rng.permutation(p.kit.other_words))[:3]
    for k, (name, at) in enumerate(zip(names, ((-0.3, 0.0), (0.02, -0.14), (0.3, 0.02)), strict=False)):
        p.add(f"row{k}", name, p.jitter(at, 0.03))
    aside = _aside(p, (0.05, 0.2))
    p.fill(2)

    def ask(a: SentenceMaker) -> None:
        rows = [t for t in p.objects if t.name.startswith("row")]
        words = {t.name: t.item.said[-1] for t in rows}
        a.take("row0", f"the {words['row0']}", "2 label differs")
        a.beside(
            "row1",
            f"the {words['row1']}",
            a.one(("left of", "in front of")),
            "row2",
            "2 label differs",
            to=words["row2"],
        )
        a.beside("row2", f"the {words['row2']}", a.one(("right of", "in front of")), "aside", "2 label differs")
        small = [t.name for t in rows if max(t.item.mesh.size[:2]) < 0.1]
        if small:
            _into(a, small[0], f"the {words[small[0]]}", aside, "2 label differs")
        a.put(
            "row0",
            f"the {words['row0']}",
            f"between the {words['row1']} and the {words['row2']}",
            a.judge.between("row1", "row2", ("row0",)),
            "2 label differs",
            "5 between",
        )
        a.absent()
        a.refuse_take(f"the {words['row1']} on the {words['row2']}", *a.judge.apart(("row1",), "row2"))

    return Plan(p.objects, ask)
