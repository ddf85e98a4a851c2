# SPDX-License-Identifier: Apache-2.0
"""Which words outside the grammar have the shape of a request for one object, and which a model never sees."""

from __future__ import annotations

import pytest

from spatial_vlm_ros.errors import NotUnderstoodError
from spatial_vlm_ros.language.courtesy import WISHES
from spatial_vlm_ros.language.free_shape import OPENINGS
from spatial_vlm_ros.language.free_words import held_back, partial_reading
from spatial_vlm_ros.language.lexicon import ACTIONS
from spatial_vlm_ros.language.patterns import expand
from spatial_vlm_ros.spatial.dialogue_turns import take


def refused(words: str) -> NotUnderstoodError:
    with pytest.raises(NotUnderstoodError) as error:
        take(words)
    return error.value


ASKED = """
what I drink from
what my niece cuddles, please
what we eat soup with
what my grandfather smokes, please
do grab what my niece cuddles
grab what keeps my coffee warm
grab what I drink from next to the box
grab what I drink from close to the plate
grab what is similar to the cup
grab the red thing I love
grab the chick parallel to the cup
grab the few-days-old bread my niece likes
grab the mug my niece adores next to the box
take what I use to open the bottle
take what my niece would cuddle slowly
take the thing I listen to
fetch the thing that squeaks
pick up the mug my daughter painted for me
get hold of what I would stir tea with
select the thing my dog could chew
please get me what I sign letters with
please may I have that lovely chick my niece adores
may I have the mug that I love
could you pass me the toy that my son adores?
hand me whatever you would use on a wound
bring what my niece would cuddle to me
bring me the thing that smells like lemon
I need the thing my boss gave me
I want the cup that I usually drink from
I'd like what my cat plays with
find the thing I lost yesterday
show me what my niece would cuddle
show me the thing my two brothers fight over
look for what I would wear in the rain
locate the tool that a plumber would use
something red that I love
the red thing that I love
the leftmost thing that I love
the chick that I love on the right
the chick on the left that I love
the largest object that I love
the small chick I love that is nearest to the cup
the little yellow chick, the one my niece adores
my mother's mug, the one that she adores
the thing I love next to the lamp
the thing I love close to the cup
the thing I love nearest to the cup
the thing I adore between the cup and the plate
the thing I love that is left of the box and behind the cup
the part that is attached to the lid
the block parallel to the cup
the thing my two nieces love
the thing all my friends like
the thing that every child likes
the thing I bought ten years ago
the mug my aunt gave me ten years ago
the mug that I use once a day
the thing that I water once a week
the rather large thing my niece adores
the thing I would give a thirsty child
the thing I use to cut bread
the thing I use to close the jar
the mug that looks cold
the thing my niece loves to cuddle
grab the thing my niece likes to cuddle
the thing I listen to
can I have what I love?
grab the scissors that I love
"""

HELD = {
    "one object|only at one": """
        take the mug I love together with the plate
        take the mug I love along with the plate
        take a bite of what I love
        get a grip on what I love
        grab everything that I drink from
        grab a couple of what I drink from
        grab a pair of things my niece cuddles
        grab some of what my niece cuddles
        grab the mugs that I love
        grab the cup and the box
        grab the thing I drink from and the thing my niece cuddles
        grab the thing I drink from plus what my niece cuddles
        grab what I drink from or what my niece cuddles
        grab what I drink from or eat from
        pick up the cup or the box
        grab the rest of what I love
        take the lid off what I drink from
        take what I drink from, gently pour it
        grab what I drink from and squeeze hard
        grab what I drink from and
    """,
    "what they ask for is not supported": """
        grab the second chick
        grab the left most right chick
    """,
    "not supported": """
        rotate the cup
        turn the cup upside down
        bring the cup closer
    """,
    "is not reliable": """
        grab zero cups
        grab the cup 5 pixels left of the box
        grab the chick two storeys above the cup
    """,
    "order in time": """
        now smash what my niece would cuddle
        grab the mug that I love in five minutes
        grab the mug that I love five minutes from now
        grab the mug that I love on Monday
        grab the mug that I love at noon
        grab the cup tomorrow
        grab the mug that I love tonight
        grab the mug that I love later
    """,
    "not meant|negated": """
        the thing you should stay away from
        grab the mug I love instead of the plate
        anything other than the thing I drink from
        grab the mug I love no wait the plate
        grab a non-white cup
        anything besides what I drink from
        grab anything but what I love
        all but the thing I drink my coffee from
        the thing I hate, other than my favourite
        hardly the thing I drink from
        grab what I love rather than what she loves
        whatever you do, avoid touching what I love
        nobody touches the mug my niece adores
        careful with the mug my niece adores
        beware of the mug my niece adores
        leave what my niece cuddles
    """,
    "take back": """
        grab the cup sorry the box
        grab the box sorry the cup
        grab what I love sorry the box
        grab the mug I love, oops, the plate
        grab the mug I love, I mean the plate
        grab the mug I love, scratch that, the plate
        grab what I drink from, rather the box
    """,
    "neither ask for one object": """
        take care of the mug that I love
        get away from what I love
        get rid of the mug that I love
        give up the mug that I love
        would you ever grab what I love?
        pick up the
        push the cup to the left
        keep away from what my niece loves
        stay away from what my niece loves
        steer clear of the thing I drink from
        stay clear of what I drink from
        stay off the mug that I love
        be wary of what my niece loves
        hands off whatever is hot
        spare the thing I drink from
        refrain from grabbing the thing I drink from
        refuse to grab what my niece would cuddle
        let go of what I drink from
        release what I drink from
        let what my niece cuddles be
        watch out for the mug my niece adores
        mind the mug my niece adores
        the opposite of what my niece would cuddle
        quarantine the mug that I love
        respect what my niece loves
        guard the mug that I love
        shun what my niece loves
        dodge the mug that I love
        whack what I drink from
        tickle the chick that I adore
        squeeze what I drink from hard
        hit what I drink from
        break what my niece would cuddle
        shake what my niece would cuddle
        open what my niece would cuddle
        push what my niece would cuddle
        drop what I drink from in the box
        throw what I drink from at Bob
        throw what my niece would cuddle away
        robot smash what my niece would cuddle
        tell me where my coffee thing lives
        you know what my niece likes
        find out what my niece loves
        I hate the mug my niece adores
        I am thirsty, get me something suitable
        I'm thirsty. Get me something to drink
        I love the chick behind the cup, hand it over
        my niece loves the mug she painted
        give Bob the mug he adores
        take the person sitting there
        grab the other one
        approve the plan
        do it again
    """,
    "not known here": """
        please quickly smash what my niece would cuddle
        could you smash what my niece would cuddle
        I want you to smash what my niece would cuddle
        ignore what my niece loves
        weigh the mug that I love
    """,
    "state something": """
        the mug my niece adores is hot
        the mug that I love is mine
        what I would like is the chick
        my niece's thing is where
    """,
    "a question": """
        what should I drink from
        what colours does my niece love
        which one my niece cuddles I want
    """,
    "place|where something goes": """
        get the mug my niece loves to Bob
        get the mug my niece loves to the sink
        I need the mug I love out of here
        grab the mug I love and put it down
        give a wide berth to the mug that I love
        take what I drink from home
        take what I drink from over there
        take what I drink from back
        take what my niece would cuddle towards the kitchen
        take what my niece would cuddle to a bin
        take what my niece would cuddle out of here
        take the thing that I love upstairs
        fetch what I drink from towards the sink
        bring what I drink from over to Bob
        carry what my niece would cuddle over to Bob
        move what my niece would cuddle to her
        put what my niece would cuddle back
        find me a place for my niece's toy
        find me a place where my niece can sit
    """,
    "not name an object": "pick up",
    "words or signs": """
        donne-moi la tasse
        gib mir die rote Tasse hinter der Schachtel
        lass die Finger von dem was ich liebe
    """,
    "what to do with": """
        get the mug that I love washed
        I want the mug that I love moved
    """,
    "said before": """
        take the same one
        the first one you mentioned
    """,
    "robot itself": "take your gripper off the mug I love",
    "condition": """
        grab the mug I love in case of fire
        give me the one you mentioned before
        take what my niece would cuddle while singing
    """,
    "'it' or 'them'": "grab what my niece would cuddle, in a bin with it",
}


def lines(words: str) -> list[str]:
    return [line.strip() for line in words.splitlines() if line.strip()]


@pytest.mark.parametrize("words", lines(ASKED))
def test_a_request_for_one_object_may_be_put_to_a_model(words: str) -> None:
    error = refused(words)
    assert error.kind == "unknown words"
    assert held_back(words, error.kind) is None


@pytest.mark.parametrize(("reason", "words"), [(reason, one) for reason, held in HELD.items() for one in lines(held)])
def test_everything_else_is_held_back_and_says_why(reason: str, words: str) -> None:
    why = held_back(words, refused(words).kind)
    assert why is not None
    assert any(part in why for part in reason.split("|")), why


@pytest.mark.parametrize("words", ["grab the second chick", "bring the cup closer", "grab the cup tomorrow", "pick up"])
def test_what_the_grammar_refuses_on_purpose_is_no_unknown_word(words: str) -> None:
    assert refused(words).kind == "refused"
    assert held_back("grab the mug that I love", "refused") is not None


def test_openings_are_ways_of_the_grammar_to_pick_up_give_or_find() -> None:
    patterns = (*ACTIONS["pick"], *ACTIONS["give"], *ACTIONS["find"], *WISHES)
    assert {phrase for pattern in patterns for phrase in expand(pattern)} >= OPENINGS


def test_attributes_order_and_sides_are_read_or_named_as_unread() -> None:
    def read(words: str) -> tuple[str, tuple[str, ...], str | None, tuple[str, ...]]:
        said = partial_reading(words, refused(words).span)
        head = said.head
        return ("", (), None, said.unread) if head is None else (
            head.category, head.attributes, head.superlative, said.unread
        )  # fmt: skip

    assert read("the red thing that I love") == ("object", ("red",), None, ())
    assert read("something red that I love") == ("object", ("red",), None, ())
    assert read("the leftmost thing that I love") == ("object", (), "leftmost", ())
    assert read("the chick on the left that I love") == ("chick", (), "leftmost", ())
    assert read("the chick that I love on the right") == ("chick", (), None, ("on the right",))
    assert read("the second chick that I love from the left") == ("chick", (), None, ("from the left",))
    second = partial_reading("the second chick that I love", refused("the second chick that I love").span).head
    assert second is not None
    assert second.ordinal is not None
    assert read("look for what I would wear in the rain") == ("", (), None, ())


def test_a_relation_that_cannot_be_judged_leaves_the_rest_of_the_words_read() -> None:
    said = partial_reading("grab the red chick parallel to the cup", (0, 38))
    assert said.head is not None
    assert (said.head.category, said.head.attributes) == ("chick", ("red",))
    assert [clause.relation for clause in said.clauses] == ["parallel to"]
