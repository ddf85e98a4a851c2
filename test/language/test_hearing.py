# SPDX-License-Identifier: Apache-2.0
"""What a speech recogniser sends: text, the instruction taken from it, or words of the refusal (heard.jsonl)."""

import pytest
from language_outline import rows

from spatial_vlm_ros.errors import SpatialVlmError
from spatial_vlm_ros.language.dialogue import heard


@pytest.mark.parametrize(("text", "instruction", "refused"), rows("heard"))
def test_what_is_heard_is_one_request_or_asked_about(text: str, instruction: str | None, refused: str) -> None:
    if instruction is not None:
        assert heard(text) == instruction
        return
    with pytest.raises(SpatialVlmError, match=refused):
        heard(text)
