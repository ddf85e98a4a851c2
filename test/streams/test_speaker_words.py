# SPDX-License-Identifier: Apache-2.0
"""Which requests wait for the speaker's transform."""

from __future__ import annotations

import pytest

from spatial_vlm_ros.language import parse
from spatial_vlm_ros.streams.speaker import needs_speaker
from spatial_vlm_ros.types import (
    Destination,
    FrameOfReference,
    NounPhrase,
    Ordinal,
    RelationClause,
    SpatialQuery,
    Step,
)

SPEAKER, VIEWER = FrameOfReference.SPEAKER, FrameOfReference.VIEWER
BOX = NounPhrase("box")
MY_LEFT = RelationClause("left of", (BOX,), SPEAKER)


def query(target: NounPhrase = BOX, **fields: object) -> SpatialQuery:
    return SpatialQuery("the words", "find", target, **fields)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "said",
    [
        query(NounPhrase("cup", relations=(MY_LEFT,))),
        query(NounPhrase("cup", relations=(RelationClause("behind", (NounPhrase("box", relations=(MY_LEFT,)),)),))),
        query(NounPhrase("cup", superlative="leftmost", frame=SPEAKER)),
        query(destination=Destination("left of", (BOX,), SPEAKER)),
        query(steps=(Step("take", BOX), Step("place", BOX, Destination("left of", (BOX,), SPEAKER)))),
    ],
)
def test_words_that_name_the_speakers_view_need_the_speaker_wherever_they_stand(said: SpatialQuery) -> None:
    assert needs_speaker([query(), said], VIEWER, "")
    assert needs_speaker(parse("grab the chick on my left"), VIEWER)
    assert not needs_speaker(parse("grab the chick left of the cup"), VIEWER)


@pytest.mark.parametrize(
    "target",
    [
        NounPhrase("cup", relations=(RelationClause("behind", (BOX,)),)),
        NounPhrase("cup", superlative="nearest"),
        NounPhrase("cup", ordinal=Ordinal(2, "left")),
    ],
)
@pytest.mark.parametrize("frames", [(SPEAKER,), ("speaker",), (VIEWER, "speaker")])
def test_where_nothing_is_said_the_frames_that_hold_decide(
    target: NounPhrase, frames: tuple[FrameOfReference | str, ...]
) -> None:
    assert needs_speaker([query(target)], *frames)
    assert not needs_speaker([query(target)], VIEWER, "robot", "", None)
    assert not needs_speaker([query(NounPhrase("speaker", attributes=("red",)))], SPEAKER)  # chosen by no place
