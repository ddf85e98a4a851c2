# SPDX-License-Identifier: Apache-2.0
"""Describe a decision in words for a person: the result, the reason, and a question to ask back."""

from __future__ import annotations

import dataclasses
import difflib
from collections.abc import Collection, Sequence
from statistics import NormalDist

import numpy as np

from spatial_vlm_ros.language import describe
from spatial_vlm_ros.language.lexicon import ITSELF
from spatial_vlm_ros.language.rendering import named
from spatial_vlm_ros.printable import joined, printable
from spatial_vlm_ros.spatial import questions
from spatial_vlm_ros.spatial.attributes import UNKNOWN, attribute_likelihood
from spatial_vlm_ros.spatial.belief import ClauseBelief, PhraseBelief, state_of
from spatial_vlm_ros.spatial.decision import ResolvedChoice
from spatial_vlm_ros.spatial.descriptions import spoken
from spatial_vlm_ros.spatial.occlusion import is_inside
from spatial_vlm_ros.spatial.phrase_scorer import PhraseScorer
from spatial_vlm_ros.spatial.relations import Pairs
from spatial_vlm_ros.types import (
    ClauseState,
    Detection,
    FrameOfReference,
    HiddenRegion,
    NounPhrase,
    Resolution,
    Scene,
    SceneObject,
    Status,
    TakenFor,
)

_LISTED = 4  # candidates or regions named in a sentence


def name_of(obj: SceneObject) -> str:
    """Label and id, for people: "soup can (d1)"."""
    return printable(f"{obj.detection.label} ({obj.id})")


def said_of(phrase: NounPhrase) -> str:
    """A phrase in words: "the left compartment of the caddy"."""
    return describe(phrase).replace(" part of ", " of ")


def question(verdict: ResolvedChoice, scorer: PhraseScorer, unnamed: Collection[str] = ()) -> questions.Question | None:
    """The question to ask back, if an answer would settle the matter; `unnamed` are names that were denied before."""
    layout = scorer.layout
    if verdict.status is Status.DISAGREEMENT:  # which of the two, if both are of the kind; else, is it ours
        alike = all(verdict.belief.fit[row] >= scorer.config.decision.found for row in verdict.rivals)
        status = Status.AMBIGUOUS if alike else Status.LOW_CONFIDENCE
        verdict = dataclasses.replace(verdict, status=status, frames=(), phrase=None)
    frame = verdict.query.target.stated_frame or scorer.default_frame  # the one an answer will be judged in
    if verdict.status is Status.AMBIGUOUS and verdict.phrase is None:
        frames = [one.value for one in verdict.frames]
        # An order in the answer replaces the one that was said: it counts among the objects that fit the other words.
        members = verdict.belief.fit * np.prod([c.chance for c in verdict.belief.clauses if not c.is_order], axis=0)
        return questions.ask(
            verdict.query.target, verdict.rivals, verdict.probability, layout, frames, frame=frame, members=members
        )  # fmt: skip
    if verdict.status is Status.NOT_FOUND and verdict.phrase is not None:
        missing = verdict.phrase
        row = meant_perhaps(missing, scorer, unnamed)
        words = None if row is None else spoken(scorer.layout.scene.objects[row].detection.label)
        if row is None or words is None:
            return None
        named_so = ((f"the {words}", (row,)),) if missing == verdict.query.target else ()
        answers = (*named_so, (questions.YES, (row,)), (questions.NO, ()))
        return questions.Question(f"Did you mean the {words}?", answers, 0.0, kind="name", about=missing)
    if verdict.chosen < 0 or verdict.phrase is not None:
        return None
    left = np.flatnonzero(verdict.belief.fit >= 0.5)
    if verdict.status is Status.LOW_CONFIDENCE or (verdict.status is Status.RELATION_UNSATISFIED and len(left) == 1):
        asked = questions.whether(verdict.several or (verdict.chosen,), layout, frame=frame)
        others = [f"the {name_of(layout.scene.objects[row])}" for row in verdict.misnamed]
        if not others:
            return asked
        too = f"is {others[0]} what its name says" if len(others) == 1 else f"are {joined(others)} what their names say"
        return dataclasses.replace(asked, text=f"{asked.text[:-1]}, and {too}?")
    if verdict.status is Status.RELATION_UNSATISFIED and scorer.denied and len(left):
        # The chosen object was denied: which of the others is meant, likeliest first?
        ranked = [int(row) for row in left[np.argsort(-verdict.probability[left], kind="stable")]]
        even = np.zeros(len(verdict.probability))
        even[ranked] = 1.0 / len(ranked)
        plain = dataclasses.replace(verdict.query.target, superlative=None, ordinal=None, relations=())
        equal = (even > 0).astype(np.float64)
        return questions.ask(plain, ranked, even, scorer.layout, frame=frame, members=equal)
    return None


def message(
    verdict: ResolvedChoice, scorer: PhraseScorer, hidden: Sequence[HiddenRegion], taken: Sequence[TakenFor] = ()
) -> str:
    """Describe the outcome in one sentence; `taken` are the objects that the words name only in part."""
    if verdict.status is Status.DISAGREEMENT:
        ours, theirs = (name_of(scorer.layout.scene.objects[row]) for row in verdict.rivals)
        if verdict.judge is not None and verdict.judge.effect == "disagreed":
            return f"Depth selects the {ours}, but a model's answers about single relations select the {theirs}."
        return (
            f"Depth selects the {ours}, but the model asked about the whole phrase names the {theirs} and is "
            f"seldom wrong: the {ours} keeps a probability of {verdict.sure:.2f}."
        )
    text = _outcome(verdict, scorer, hidden)
    if verdict.avoided:
        kept = [f"the {name_of(scorer.layout.scene.objects[row])}" for row in verdict.avoided]
        text = f"{text[:-1]}; the motion avoids {joined(kept)}."
    return with_taken(text, taken, scorer.layout.scene) if taken else text


def with_taken(sentence: str, taken: Sequence[TakenFor], scene: Scene) -> str:
    """A sentence with the objects that the words name only in part."""
    names = {obj.id: name_of(obj) for obj in scene.objects}
    return f"{sentence[:-1]}, where {joined([f'{t.phrase!r} means the {names[t.id]}' for t in taken])}."


def _outcome(verdict: ResolvedChoice, scorer: PhraseScorer, hidden: Sequence[HiddenRegion]) -> str:
    objects = scorer.layout.scene.objects
    said = said_of(verdict.query.target)
    chosen = objects[verdict.chosen] if verdict.chosen >= 0 else None
    if verdict.status is Status.NOT_FOUND and verdict.phrase is not None:
        again = "other " if scorer.denied and verdict.phrase == verdict.query.target else ""
        text = f"I see no {again}{named(verdict.phrase)}"
        name_by_id = {obj.id: name_of(obj) for obj in objects}
        places = [
            f"{'in' if is_inside(scorer.layout, region) else 'behind'} the {name_by_id[region.occluder_id]}"
            for region in hidden
        ]
        if hidden:
            text += f"; one could be hidden {' or '.join(list(dict.fromkeys(places))[:_LISTED])}"
        return text + "."
    if chosen is None:
        return f"Nothing was found for '{said}'."
    if verdict.status is Status.RELATION_UNSATISFIED and verdict.clause is not None and verdict.clause.is_order:
        others = [clause.chance for clause in verdict.belief.clauses if not clause.is_order]
        left = int(np.count_nonzero(verdict.belief.fit * np.prod(others, axis=0) > 0.5))
        seen = f"I see {questions.number(left)} to choose from"
        return f"No {named(verdict.query.target)} is {_place_of(verdict.clause)}: {seen}."
    if verdict.status is Status.RELATION_UNSATISFIED and not verdict.several:
        gaps = None if verdict.clause is None else np.where(verdict.belief.fit >= 0.5, verdict.clause.margin, np.nan)
        nearest = verdict.chosen if gaps is None or np.isnan(gaps).all() else int(np.nanargmax(gaps))
        return f"No {named(verdict.query.target)} is {_clause_words(verdict.clause, nearest, scorer)}"
    if verdict.frames:
        each = [f"the {name_of(objects[row])} in the frame '{frame.value}'"
                for row, frame in zip(verdict.rivals, verdict.frames, strict=True)]  # fmt: skip
        return f"'{said}' is {' and '.join(each)}."
    if verdict.several and verdict.status is Status.OK:
        meant = [f"the {name_of(objects[row])}" for row in verdict.several]
        return f"'{said}' {'are' if len(meant) > 1 else 'is'} {joined(meant)}."
    if verdict.status is Status.RELATION_UNSATISFIED and verdict.several:
        return f"'{said}' matches only {questions.number(len(verdict.several))} of the objects found."
    if verdict.status in (Status.AMBIGUOUS, Status.LOW_CONFIDENCE) and verdict.phrase is not None:
        where = said_of(verdict.phrase)
        rivals = [name_of(objects[row]) for row in dict.fromkeys(verdict.rivals)]
        if verdict.status is Status.AMBIGUOUS and len(rivals) == 1:
            return f"'{where}' matches {len(verdict.rivals)} parts of the {rivals[0]}; say a second side."
        if verdict.status is Status.AMBIGUOUS:
            return f"'{where}' matches {len(rivals)} objects: {', '.join(rivals)}."
        doubt = f": the {rivals[0]} may be meant" if rivals else ""
        return f"It is not clear which object is '{where}'{doubt}."
    if verdict.status is Status.AMBIGUOUS:
        names = ", ".join(name_of(objects[row]) for row in verdict.rivals[:_LISTED])
        more = len(verdict.rivals) - _LISTED
        unknown = [
            c.name for c in verdict.belief.clauses if not (c.is_order or np.isfinite(c.margin[[*verdict.rivals]]).any())
        ]
        untold = f"; '{unknown[0]}' could not be measured" if unknown else ""
        return (
            f"'{said}' matches {len(verdict.rivals)} objects: {names}{f' and {more} more' if more > 0 else ''}{untold}."
        )
    if verdict.doubt is not None:
        return f"The {name_of(chosen)} matches '{said}', but {verdict.doubt}."
    if verdict.status is Status.LOW_CONFIDENCE:
        if verdict.clause is not None:
            unclear = _clause_words(verdict.clause, verdict.chosen, scorer)
            return f"It is not clear that the {name_of(chosen)} is {unclear}"
        sure = f"{verdict.probability[verdict.chosen]:.2f}"
        return f"The {name_of(chosen)} matches '{said}' with a probability of only {sure}."
    if verdict.status is Status.DEPTH_INVALID:
        return f"The {name_of(chosen)} is meant, but its position cannot be measured: {chosen.depth_problem}."
    if verdict.status is Status.OCCLUDED:
        by = next((f" by the {name_of(o)}" for o in objects if o.id == chosen.occluder), "")
        seen = f"{chosen.visible_fraction:.0%}"
        return f"The {name_of(chosen)} is meant, but only {seen} of it is visible: it is hidden{by}."
    if verdict.status is Status.NO_PLACE:
        why = verdict.placing.change if verdict.placing is not None else None
        reason = "none was found." if why is None else f"{why.reason}. {why.change}"
        return f"The {name_of(chosen)} is meant, but there is no place to put it: {reason}"
    if verdict.placing is not None:
        assumed = verdict.placing.assumed
        size = f"; its size was not measured, so {assumed:.2f} m is assumed" if assumed is not None else ""
        doubt = f"; {verdict.placing.doubt}" if verdict.placing.doubt is not None else ""
        count = len(verdict.placing.spots)
        return f"'{said}' is the {name_of(chosen)}; {count} place{'s' if count > 1 else ''} found for it{size}{doubt}."
    return f"'{said}' is the {name_of(chosen)}."


def _clause_words(clause: ClauseBelief | None, row: int, scorer: PhraseScorer) -> str:
    """A clause in words for the object at `row`, and what was measured.

    For example: behind the cup (d2): the can (d1) is 9.0 cm to the right of it and 5.0 cm in front of it.
    """
    if clause is None:
        return "as described."
    objects = scorer.layout.scene.objects
    anchors = [f"the {name_of(objects[int(a)])}" for a in clause.anchors[row] if a >= 0]
    if clause.on_support:
        anchors = ["the surface"]
    if not anchors or (len(anchors) > 2 and clause.inner):
        anchors = [said_of(inner.phrase) for inner in clause.inner]
    if clause.is_order:
        return f"{clause.name} {anchors[0]}." if anchors else f"{_place_of(clause)}."
    if clause.part is not None:
        part = dataclasses.replace(clause.part, relations=())
        anchors = [f"{describe(part)} of {anchors[0]}" if clause.anchors[row, 0] >= 0 else said_of(clause.part)]
    words = f"{'not ' if clause.negated else ''}{clause.said or clause.name} {' and '.join(anchors)}"
    if clause.inner and clause.likelihood[row] > 0.5 > clause.chance[row]:
        return f"{words}: its position fits, but nothing clearly matches '{said_of(clause.inner[0].phrase)}'."
    margin, likelihood = float(clause.margin[row]), float(clause.likelihood[row])
    if not np.isfinite(margin):
        involved = [objects[number] for number in (row, *(int(a) for a in clause.anchors[row])) if number >= 0]
        found = [f"the depth of the {name_of(obj)} cannot be trusted: {obj.depth_problem}"
                 for obj in involved if obj.depth_problem is not None]  # fmt: skip
        return f"{words}: {joined(found) or clause.why or 'the relation could not be measured'}."
    fails = f"{'fits by' if margin >= 0 else 'falls short of that by'} {_length(margin)}"
    seen, unclear = _measured(clause, row, scorer), ""
    if state_of(likelihood, scorer.config.decision.holds) is ClauseState.UNCLEAR:
        sigma = _length(margin / (NormalDist().inv_cdf(likelihood) or 1.0))
        fails = f"{seen}; it {fails}" if seen else fails
        unclear = f", and the measurement is exact only to {sigma}"
    elif seen:
        fails = seen
    return f"{words}: the {name_of(objects[row])} {fails}{unclear}."


def _place_of(clause: ClauseBelief) -> str:
    """The place in an order that a clause asks for: "number 3 from the left", "the middle one"."""
    return clause.name if clause.name.startswith("number ") else f"the {clause.name} one"


_APART = frozenset({"next to", "near", "far from", "around", "touching", "against"})
_SIDES = frozenset({"left of", "right of", "behind", "in front of", "on the other side of"})


def _measured(clause: ClauseBelief, row: int, scorer: PhraseScorer) -> str:
    """What was measured of an object and its anchor, in words after its name; empty where they would not show it."""
    layout, anchors = scorer.layout, clause.anchors[row][clause.anchors[row] >= 0]
    margin, contact = float(clause.margin[row]), layout.relation.contact
    if clause.part is not None and len(anchors) and margin < 0:
        spans = [region.span for region in scorer.parts.get((clause.part, int(anchors[0])), ())]
        low, high = spans[0] if len(spans) == 1 else (-np.inf, np.inf)
        over = max(low - layout.bottom[row], layout.bottom[row] - high)
        way = "above" if layout.bottom[row] > high else "below"
        return f"is {_length(margin)} {way if np.isclose(over, -margin) else 'outside'} it"
    if clause.on_support and abs(layout.bottom[row]) > contact:
        return f"has its foot {_length(layout.bottom[row])} {'above' if layout.bottom[row] > 0 else 'below'} it"
    if clause.on_support and margin < 0:
        return "is on or in another object"
    if clause.name == "between" and margin < 0:
        return f"is {_length(margin)} outside the space between them"
    if len(anchors) != 1 or clause.stated is None:
        return ""
    pairs = Pairs(layout, scorer.view_for(clause.stated.frame, False), np.array([row]), anchors)
    if clause.name in _SIDES and clause.stated.distance is None and pairs.overlap[0, 0] <= 0:
        ahead, right = (float(pairs.along(way)[0, 0]) for way in pairs.rays)
        across = f"{_length(right)} to the {'right' if right > 0 else 'left'} of it"
        along = f"{_length(ahead)} {'behind' if ahead > 0 else 'in front of'} it"
        sides = [(across, abs(right)), (along, abs(ahead))]
        return f"is {joined([words for words, far in sides if far > contact] or [across, along])}"
    if clause.name.startswith("at the ") and margin < 0 and pairs.inside_anchor[0, 0] > 0:
        return f"is {_length(margin)} away from there"
    if clause.name in _APART or float(pairs.gap[0, 0]) > contact:
        return f"is {_length(float(pairs.space[0, 0]))} away from it"
    if clause.name in ("on", "above", "inside") or (clause.name in ("under", "below") and pairs.overlap[0, 0] <= 0):
        return _over_or_in(pairs, clause.name == "inside")
    if clause.name in ("supporting", "containing"):
        held = _over_or_in(pairs.exchanged(), clause.name == "containing")
        return held and f"does not hold it: the {name_of(layout.scene.objects[int(anchors[0])])} {held}"
    return ""


def _over_or_in(pairs: Pairs, within: bool) -> str:
    """Where the target is, over or within the outline of the anchor; empty if it is in it."""
    layout, target, anchor = pairs.layout, int(pairs.targets[0]), int(pairs.anchors[0])
    contact, depth = layout.relation.contact, float(pairs.inside_anchor[0, 0])
    over = float(layout.bottom[target] - layout.top[anchor])
    if depth <= 0:
        return f"has its middle {_length(depth)} outside the outline of it"
    if over > -contact if within else abs(over) > contact:
        return f"has its foot {_length(over)} {'above' if over > 0 else 'below'} the top of it"
    if within and layout.mean_side[target] > layout.mean_side[anchor]:
        return "is larger than it"
    return "has no wall of it around, as far as is seen" if within and pairs.resting.rim[0, 0] <= contact else ""


def _length(metres: float) -> str:
    return (
        f"{abs(metres) * 1000:.0f} mm" if abs(metres) < 0.01 else f"{abs(metres) * 100:.{int(abs(metres) < 0.1)}f} cm"
    )


# --------------------------------------------------------------------------------------------------
# Find objects accepted for a different name, and suggest a name if none fits.

_SAID = 0.8  # fit of name and attributes from which an object is what the phrase says
_NAMED = 0.87  # fit of the name alone from which a label says it, in the same words or synonyms
_ALIKE = 0.75  # share of equal letters from which one word may be a misspelling of the other


def taken_for(verdict: ResolvedChoice, scorer: PhraseScorer) -> tuple[TakenFor, ...]:
    """Objects of the answer whose label or attributes do not contain all words of their phrase, target first."""
    found: dict[tuple[str, int], TakenFor] = {}
    if verdict.status is not Status.OK:
        return ()
    for row in verdict.meant:
        if row >= 0:
            _collect(verdict.by_row[row], row, scorer, found)
    anchors = () if verdict.placing is None or verdict.query.destination is None else verdict.query.destination.anchors
    for anchor in anchors:
        if anchor.category == ITSELF:
            continue
        belief = scorer.score_phrase(anchor, anchor=True)
        if belief.weight.max(initial=0.0) > 0:
            _collect(belief, int(belief.weight.argmax()), scorer, found)
    return tuple(found.values())


def _collect(belief: PhraseBelief, row: int, scorer: PhraseScorer, found: dict[tuple[str, int], TakenFor]) -> None:
    obj = scorer.layout.scene.objects[row]
    # Does the detection or the measurement confirm the phrase's name and attributes?
    confirmed = belief.fit[row] >= _SAID and (belief.name is None or belief.name[row] >= _NAMED)
    if confirmed:
        members, view = belief.fit >= _SAID, scorer.layout.viewpoint(FrameOfReference.VIEWER)
        confirmed = all(
            attribute_likelihood(word, scorer.layout, view, members)[row] != UNKNOWN
            for word in belief.phrase.attributes
        )
    if not confirmed:
        words = named(belief.phrase)
        found[words, row] = TakenFor(words, obj.id, obj.detection.label)
    for clause in belief.clauses:
        anchors = clause.anchors[row] if row < len(clause.anchors) else ()
        for number, anchor in enumerate(anchors):
            if anchor >= 0 and clause.inner:
                _collect(clause.inner[min(number, len(clause.inner) - 1)], int(anchor), scorer, found)


def meant_perhaps(phrase: NounPhrase, scorer: PhraseScorer, unnamed: Collection[str] = ()) -> int | None:
    """Row of the object whose label is closest to a name that fits nothing: misspelt, or with a word in common."""
    said = phrase.category.lower().split()
    best, nearest = None, 0.0
    if scorer.match(phrase).max(initial=0.0) >= _SAID:  # it is seen, but with another colour
        return None
    said_of = (" ".join(obj.detection.label.lower().replace("_", " ").split()) for obj in scorer.layout.scene.objects)
    labels = [(row, label) for row, label in enumerate(said_of) if label and label not in unnamed]
    for row, label in labels:
        words = label.split()
        alike = difflib.SequenceMatcher(None, phrase.category.lower(), label).ratio()
        likeness = max(alike, difflib.SequenceMatcher(None, said[-1], words[-1]).ratio())
        if likeness >= _ALIKE and likeness + alike > nearest:
            best, nearest = row, likeness + alike
    having = (row for row, label in labels if said[-1] in label.split()[:-1])
    return best if best is not None else next(having, None)  # "the pig" for a pig candle


def without_robot(resolution: Resolution, scene: Scene) -> Resolution:
    """Add which detections were discarded as part of the robot."""
    if not scene.of_robot:
        return resolution
    names = ", ".join(f"{d.label} ({d.id})" for d in scene.of_robot)
    message = f"{resolution.message} Detections discarded as part of the robot: {names}."
    return dataclasses.replace(resolution, message=message)


def with_ignored(resolution: Resolution, ignored: Sequence[Detection]) -> Resolution:
    """Add to a NOT_FOUND which detections of that name are never taken."""
    if resolution.status is not Status.NOT_FOUND or not ignored:
        return resolution
    names = ", ".join(f"{d.label} ({d.id})" for d in ignored)
    message = f"{resolution.message} Ignored as a support, or because the box fills over a third of the image: {names}."
    return dataclasses.replace(resolution, message=message)


def with_unread(resolution: Resolution, unread: tuple[str, ...]) -> Resolution:
    """Add that a part of a model's reply could not be read."""
    if not unread:
        return resolution
    more = f" ({len(unread) - 1} more)" if len(unread) > 1 else ""
    message = f"{resolution.message} Objects may be missing, because a part of the model's reply cannot be read: "
    return dataclasses.replace(resolution, message=f"{message}{unread[0]}{more}.", unread=unread)
