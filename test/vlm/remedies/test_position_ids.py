# SPDX-License-Identifier: Apache-2.0
"""Position indices of prompts with images, beside the published classes and by hand."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")

from position_cases import padded  # noqa: E402
from small_vlms import END, IMAGE, START, small_vlm  # noqa: E402

from spatial_vlm_ros.errors import InputError, ShapeError, UnknownNameError  # noqa: E402
from spatial_vlm_ros.vlm.remedies.position_ids import Images, grid_ids, line_ids, running_ids  # noqa: E402

GRIDS = [(4, 4), (2, 7), (5, 1), (1, 1), (1, 6)]


def batch(words: tuple[tuple[int, int], ...], left: bool) -> dict[str, torch.Tensor]:
    """Prompts with words before and behind an image, padded on one side, as a processor of Qwen gives them."""
    rows = [
        torch.tensor([1] * before + [START] + [IMAGE] * (height * width) + [END] + [2] * behind)
        for (before, behind), (height, width) in zip(words, GRIDS, strict=True)
    ]
    given = padded(rows, left)
    given["image_grid_thw"] = torch.tensor([(1, 2 * height, 2 * width) for height, width in GRIDS])
    return {**given, "mm_token_type_ids": (given["input_ids"] == IMAGE).int()}


@pytest.mark.parametrize("kind", ["qwen2_vl", "qwen2_5_vl", "qwen3_vl"])
@pytest.mark.parametrize("left", [True, False])
def test_ids_are_those_of_the_published_classes(kind: str, left: bool) -> None:
    given = batch(((3, 4), (0, 6), (9, 0), (2, 2), (1, 5)), left)
    theirs, deltas = small_vlm(kind).model.get_rope_index(**given)
    running = running_ids(given["attention_mask"])
    starts = running[(given["input_ids"] == IMAGE).int().argmax(-1)[:, None] == torch.arange(running.shape[1])]
    images = Images.at(starts, GRIDS)
    ours, seen = grid_ids(running, images), given["attention_mask"].bool()
    assert torch.equal(ours[:, seen], theirs[:, seen])
    assert torch.equal(line_ids(theirs, images)[seen], running[seen])
    # a token decoded next: the classes add their deltas to its running index
    next_one = given["attention_mask"].sum(-1, keepdim=True)
    assert torch.equal(grid_ids(next_one, images), (next_one + deltas).expand(3, -1, -1))


@pytest.mark.parametrize(("height", "width"), GRIDS)
@pytest.mark.parametrize("following", ["grid", "running"])
def test_ids_are_those_counted_token_by_token(height: int, width: int, following: str) -> None:
    before, behind = 3, 5
    expected = [(i, i, i) for i in range(before)]
    expected += [(before, before + r, before + c) for r in range(height) for c in range(width)]
    onward = before + (max(height, width) if following == "grid" else height * width)
    expected += [(onward + i,) * 3 for i in range(behind)]
    running = torch.arange(before + height * width + behind)[None]
    images = Images.at(torch.tensor([before]), [(height, width)])
    ids = grid_ids(running, images, following)
    assert ids[:, 0].T.tolist() == [list(place) for place in expected]
    parts = torch.cat([grid_ids(running[:, i : i + 1], images, following) for i in range(running.shape[1])], dim=2)
    assert torch.equal(parts, ids)


def test_text_alone_is_a_line_on_every_axis_and_padding_is_not_counted() -> None:
    running = torch.arange(7)[None]
    assert grid_ids(running, None).tolist() == [[list(range(7))]] * 3
    assert torch.equal(line_ids(grid_ids(running, None), None), running)
    mask = torch.tensor([[0, 0, 1, 1, 1], [1, 1, 1, 0, 0]])
    assert running_ids(mask).tolist() == [[0, 0, 0, 1, 2], [0, 1, 2, 0, 0]]


def test_places_and_images_that_do_not_exist_are_refused() -> None:
    with pytest.raises(UnknownNameError, match="one of: grid, running"):
        grid_ids(torch.arange(3)[None], None, "behind")
    with pytest.raises(InputError, match="a side without tokens"):
        Images.at(torch.tensor([1]), [(0, 4)])
    with pytest.raises(ShapeError, match=r"starts, heights and widths of \(B, 1\)"):
        Images.at(torch.tensor([1, 2]), [(4, 4)])
