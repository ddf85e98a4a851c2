# SPDX-License-Identifier: Apache-2.0
"""The model that comes with the package: small, the same in both its forms, and good enough for the demo's worlds."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")
pytest.importorskip("onnxruntime")
pytest.importorskip("mujoco")

from spatial_vlm_ros import Resolver  # noqa: E402
from spatial_vlm_ros.perception import load_grounder  # noqa: E402
from spatial_vlm_ros.perception.grounder import Grounder  # noqa: E402
from spatial_vlm_ros.sim.cameras import VGA  # noqa: E402
from spatial_vlm_ros.sim.demo_worlds import DEMO_WORLDS  # noqa: E402
from spatial_vlm_ros.types import NounPhrase, Status  # noqa: E402
from spatial_vlm_ros.vlm.compact.letterbox import letterbox  # noqa: E402
from spatial_vlm_ros.vlm.compact.model import CompactModel  # noqa: E402
from spatial_vlm_ros.vlm.compact.spec import read_spec  # noqa: E402
from spatial_vlm_ros.vlm.compact.tokens import encode  # noqa: E402

FOLDER = Path(__file__).parents[3] / "models" / "compact"
MOST_BYTES, MOST_PARAMETERS = 40_000_000, 5_000_000


@pytest.fixture(scope="module")
def grounder() -> Grounder:
    return load_grounder("compact", {"threads": "1"})


def test_it_is_small_and_has_a_card() -> None:
    assert sum(path.stat().st_size for path in FOLDER.iterdir()) < MOST_BYTES
    assert (FOLDER / "README.md").read_text(encoding="utf-8").startswith("# Model card")
    model = CompactModel.from_pretrained(FOLDER, local_files_only=True)
    assert sum(weight.numel() for weight in model.parameters()) < MOST_PARAMETERS


def test_torch_and_onnx_runtime_say_the_same_of_an_image(grounder: Grounder) -> None:
    spec = read_spec(FOLDER)
    with DEMO_WORLDS["behind"]() as world:
        pixels, _ = letterbox(world.render(VGA).frame.rgb, spec.width, spec.height)
    words = encode(["chick", "red cup", "thing"], spec)
    model = CompactModel.from_pretrained(FOLDER, local_files_only=True).eval()
    with torch.inference_mode():
        output, features = model.with_features(torch.from_numpy(pixels), torch.from_numpy(words))
    expected = [t.numpy() for t in (*output, features)]
    said = grounder._session.run(None, {"pixels": pixels, "words": words})  # type: ignore[attr-defined]
    for mine, theirs in zip(said, expected, strict=True):
        assert np.abs(mine - theirs).max() < 1e-3 * max(1.0, float(np.abs(theirs).max()))


@pytest.mark.parametrize("world", sorted(DEMO_WORLDS))
def test_it_finds_both_chicks_and_the_cup_and_nothing_else_under_these_names(grounder: Grounder, world: str) -> None:
    with DEMO_WORLDS[world]() as simulated:
        seen = simulated.render(VGA)
    grounding = grounder.ground(seen.frame.rgb, [NounPhrase("chick"), NounPhrase("cup")])
    found = []
    for one in grounding.detections:
        assert one.mask is not None
        shares = {id_: (one.mask & mask).sum() / (one.mask | mask).sum() for id_, mask in seen.masks.items()}
        found.append(max(shares, key=lambda id_: shares[id_]))
    sure = [id_ for id_, one in zip(found, grounding.detections, strict=True) if one.score >= 0.8]
    assert sorted(sure) == ["bonnet", "cup", "ribbon"]


def test_what_nobody_ever_saw_is_not_found(grounder: Grounder) -> None:
    with DEMO_WORLDS["behind"]() as simulated:
        frame = simulated.render(VGA).frame
    assert Resolver(grounder=grounder).resolve(frame, "grab me the zebra").status is Status.NOT_FOUND
