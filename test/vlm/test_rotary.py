# SPDX-License-Identifier: Apache-2.0
"""Rotary position: what attention sees is the offset, and nothing but the offset."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from small_vlms import small_vlm  # noqa: E402

from research.offsets import offset_spread  # noqa: E402
from spatial_vlm_ros.errors import InputError  # noqa: E402
from spatial_vlm_ros.vlm.rotary import (  # noqa: E402
    axial_angles,
    chunked_axes,
    default_sections,
    frequencies,
    grid_angles,
    interleaved_axes,
    line_angles,
    rotate,
    sectioned_angles,
)

SIZE = 64
SCHEMES = {
    "line": (1, lambda at: line_angles(at[0], frequencies(SIZE))),
    "axial": (2, lambda at: axial_angles(at[0], at[1], SIZE)),
    "chunked": (3, lambda at: sectioned_angles(at, frequencies(SIZE), chunked_axes((8, 12, 12)))),
    "interleaved": (3, lambda at: sectioned_angles(at, frequencies(SIZE), interleaved_axes((12, 10, 10)))),
}


def wrong_angles(at: torch.Tensor, size: int = SIZE) -> torch.Tensor:
    """Frequencies of rows | frequencies of columns, D/2 each, side by side: partners i and i + D/2 turn differently."""
    return torch.cat([axis.float()[:, None] * frequencies(size) for axis in at], dim=1)


@pytest.mark.parametrize("scheme", SCHEMES)
def test_products_depend_on_the_offset_alone_and_lengths_stay(scheme: str) -> None:
    axes, angles_of = SCHEMES[scheme]
    found = offset_spread(angles_of, axes)
    assert found.spread < 1e-5
    assert (found.shortest, found.longest) == pytest.approx((1.0, 1.0), abs=1e-6)
    wrong = offset_spread(wrong_angles, 2)
    assert wrong.spread > 0.1
    assert wrong.shortest < 0.99
    assert wrong.longest > 1.01


def test_the_products_of_the_published_mistake_and_of_axial_positions_are_those_of_the_reference() -> None:
    """One query and one key of 128 normal numbers, two rows and three columns apart, at four places."""
    rng = np.random.default_rng(0)
    query, key = (torch.from_numpy(rng.standard_normal(128))[None] for _ in range(2))
    at = torch.tensor([(0, 0), (5, 7), (11, 2), (20, 20)]).T
    moved = at + torch.tensor([[2], [3]])
    both = [(wrong_angles(one, 128), axial_angles(one[0], one[1], 128)) for one in (at, moved)]
    wrong, axial = (
        ((rotate(query, first) * rotate(key, second)).sum(-1)).tolist() for first, second in zip(*both, strict=True)
    )
    assert wrong == pytest.approx([-8.02, -5.55, -17.0, -8.38], abs=0.0051)
    assert axial == pytest.approx([3.828] * 4, abs=5e-4)
    lengths = (rotate(key, both[1][0]).norm(dim=-1) / key.norm()).tolist()
    assert lengths == pytest.approx([1.0054, 0.9916, 1.0641, 0.9957], abs=1e-4)


def test_products_are_those_of_complex_numbers() -> None:
    """Re Σ q_j conj(k_j) exp(i (m - n) f_j), with q_j = q[j] + i q[j + D/2] (Su et al. 2021)."""
    query, key = torch.randn(2, 1, SIZE, generator=torch.Generator().manual_seed(1))
    angles = line_angles(torch.tensor([41, 17]), frequencies(SIZE))
    said = float(rotate(query, angles[:1])[0] @ rotate(key, angles[1:])[0])
    q, k = ((x[0, : SIZE // 2] + 1j * x[0, SIZE // 2 :]).numpy() for x in (query, key))
    turn = np.exp(1j * (41 - 17) * 1e4 ** (-np.arange(0, SIZE, 2) / SIZE))
    assert said == pytest.approx(float((q * k.conj() * turn).sum().real), abs=1e-4)


@pytest.mark.parametrize("scheme", ["axial", "chunked", "interleaved"])
def test_axes_are_told_apart(scheme: str) -> None:
    axes, angles_of = SCHEMES[scheme]
    query, key = torch.randn(2, 1, SIZE, generator=torch.Generator().manual_seed(1))
    steps = torch.cat([torch.zeros(axes, 1), torch.eye(axes), -torch.eye(axes)], dim=1).long()
    products = rotate(query, angles_of(torch.zeros(axes, 1)))[0] @ rotate(key, angles_of(steps)).T
    assert len({round(float(value), 3) for value in products}) == 2 * axes + 1


def test_turning_a_grid_keeps_lengths() -> None:
    x = torch.randn(3, 2, 12, SIZE, generator=torch.Generator().manual_seed(2))
    turned = rotate(x, grid_angles(3, 4, SIZE, x.device))
    assert turned.shape == x.shape
    assert torch.allclose(turned.norm(dim=-1), x.norm(dim=-1), atol=1e-5)


def test_axial_angles_follow_the_published_formula() -> None:
    angles = axial_angles(torch.tensor([3]), torch.tensor([5]), 8)[0]
    assert angles.tolist() == pytest.approx([3.0, 0.03, 5.0, 0.05] * 2)


def test_axial_angles_are_those_of_a_published_vision_tower() -> None:
    module = small_vlm("qwen2_5_vl").model.visual.rotary_pos_emb  # of heads of 16
    places = torch.tensor([[row, column] for row in range(5) for column in range(3)])
    cos, sin = module(torch.zeros(1), places)
    grid = grid_angles(5, 3, 16, torch.device("cpu"))
    assert torch.allclose(grid.cos(), cos, atol=1e-6)
    assert torch.allclose(grid.sin(), sin, atol=1e-6)


@pytest.mark.parametrize("kind", ["qwen2_vl", "qwen2_5_vl", "qwen3_vl"])
@pytest.mark.parametrize(("size", "base"), [(16, 1e4), (128, 1e6)])
def test_sectioned_angles_are_those_of_the_published_decoders(kind: str, size: int, base: float) -> None:
    interleaved = kind == "qwen3_vl"
    sections = default_sections(size, interleaved)
    module = published_rotary(kind, size, sections, base)
    ids = torch.randint(0, 900, (3, 2, 50), generator=torch.Generator().manual_seed(4))
    cos, sin = module(torch.zeros(1), ids)
    axes = (interleaved_axes if interleaved else chunked_axes)(sections)
    same = sectioned_angles(ids, module.inv_freq, axes)
    assert torch.equal(same.cos(), cos)
    assert torch.equal(same.sin(), sin)
    ours = sectioned_angles(ids, frequencies(size, base), axes)
    assert torch.allclose(ours.cos(), cos, atol=2e-4)  # one unit in the last place of a frequency, 900 steps away
    assert torch.allclose(frequencies(size, base), module.inv_freq, rtol=2e-7, atol=0)


def published_rotary(kind: str, size: int, sections: tuple[int, int, int], base: float) -> torch.nn.Module:
    """The rotary module of a published decoder, of a head size, sections and base."""
    from transformers.models.qwen2_5_vl.modeling_qwen2_5_vl import Qwen2_5_VLRotaryEmbedding, Qwen2_5_VLTextConfig
    from transformers.models.qwen2_vl.modeling_qwen2_vl import Qwen2VLRotaryEmbedding, Qwen2VLTextConfig
    from transformers.models.qwen3_vl.modeling_qwen3_vl import Qwen3VLTextConfig, Qwen3VLTextRotaryEmbedding

    config, module = {
        "qwen2_vl": (Qwen2VLTextConfig, Qwen2VLRotaryEmbedding),
        "qwen2_5_vl": (Qwen2_5_VLTextConfig, Qwen2_5_VLRotaryEmbedding),
        "qwen3_vl": (Qwen3VLTextConfig, Qwen3VLTextRotaryEmbedding),
    }[kind]
    rope = {"rope_type": "default", "mrope_section": list(sections), "rope_theta": base}
    told = {"hidden_size": 4 * size, "num_attention_heads": 4, "head_dim": size, "rope_parameters": rope}
    return module(config(**told))


def test_line_angles_are_those_of_llama() -> None:
    module = small_vlm("llava").model.language_model.rotary_emb
    positions = torch.randint(0, 500, (2, 40), generator=torch.Generator().manual_seed(6))
    cos, sin = module(torch.zeros(1), positions)
    ours = line_angles(positions, module.inv_freq)
    assert torch.equal(ours.cos(), cos)
    assert torch.equal(ours.sin(), sin)


def test_default_sections_are_the_published_ones() -> None:
    assert default_sections(128, interleaved=False) == (16, 24, 24)
    assert default_sections(128, interleaved=True) == (24, 20, 20)
    for size in range(14, 260, 2):
        for interleaved, axes in ((False, chunked_axes), (True, interleaved_axes)):
            assert len(axes(default_sections(size, interleaved))) == size // 2


def test_equal_axes_are_a_line() -> None:
    positions, inverse = torch.arange(50), frequencies(SIZE, 1e6)
    line = line_angles(positions, inverse)
    for axes in (chunked_axes((8, 12, 12)), interleaved_axes((12, 10, 10))):
        assert torch.equal(sectioned_angles(positions.expand(3, -1), inverse, axes), line)


@pytest.mark.parametrize(
    ("axes_of", "sections", "words"),
    [
        *((chunked_axes, sections, "each at least 1") for sections in ((0, 4, 4), (4, 4), (9, -1, 0))),
        *((interleaved_axes, sections, "each at least 1") for sections in ((0, 4, 4), (4, 4), (9, -1, 0))),
        (interleaved_axes, (2, 3, 3), "more than every third of 8"),
    ],
)
def test_sections_that_do_not_fit_are_refused(
    axes_of: Callable[[tuple[int, ...]], torch.Tensor], sections: tuple[int, ...], words: str
) -> None:
    with pytest.raises(InputError, match=words):
        axes_of(sections)
    assert interleaved_axes((11, 11, 10)).bincount().tolist() == [11, 11, 10]
