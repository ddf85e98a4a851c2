# SPDX-License-Identifier: Apache-2.0
"""What becomes of each word: of the package's own readings, and of rewrites by somebody else (rewrites.jsonl: what was
said, the rewrite, and words of why it is refused or flagged; none if it is accepted)."""

import pytest
from language_outline import rows

from spatial_vlm_ros.language import parse
from spatial_vlm_ros.language.account import account_of
from spatial_vlm_ros.language.rendering import left_out, unheeded


@pytest.mark.parametrize(("said", "rewrite", "refused", "flagged"), rows("rewrites"))
def test_a_rewrite_is_accepted_flagged_or_refused(said: str, rewrite: str, refused: str, flagged: str) -> None:
    found = account_of(said, rewrite)
    assert parse(rewrite)
    for words, expected in ((found.refused, refused), (found.flags, flagged)):
        assert expected in "; ".join(words) if expected else not words, (found.refused, found.flags)


def test_what_was_left_out_is_said_as_it_was_said() -> None:
    said = "uh could you get me the white, no, the blue mug of yours please"
    account = account_of(said, "give me the blue mug")
    assert left_out(said, account.words) == ['"uh"', '"the white, no" (taken back)', '"yours"']
    roles = {said[word.start : word.end]: word.role for word in account.words}
    assert (roles["uh"], roles["please"], roles["blue"], roles["get"]) == ("slip", "courtesy", "read", "mapped")


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ("uh the red mug, no, the blue mug please", '"uh", "the red mug, no" (taken back)'),
        ("take the mug, I'm parched", '"I\'m parched"'),
        ("um take the mug please", ""),
    ],
)
def test_a_person_sees_what_was_left_out_but_not_sounds_alone(said: str, expected: str) -> None:
    assert unheeded(parse(said)[0]) == expected


def test_the_own_readings_account_for_every_word() -> None:
    said = "could you um carefully take the the red cup please"
    account = parse(said)[0].account
    roles = [(said[word.start : word.end], word.role) for word in account]
    assert [word for word, _ in roles] == said.split(" ")
    told = {role for _, role in roles}
    assert told == {"courtesy", "slip", "function", "read"}
    assert dict(roles)["carefully"] == "function"
