# SPDX-License-Identifier: Apache-2.0
"""The model that comes with the package: small, the same in both its forms, good enough for the demo's worlds, and
aware of images that are unlike them."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")
pytest.importorskip("onnxruntime")
pytest.importorskip("mujoco")

from spatial_vlm_ros import Resolver  # noqa: E402
from spatial_vlm_ros.errors import InputError, UnfamiliarImageError  # noqa: E402
from spatial_vlm_ros.evaluation.frame_folder import load_frame  # noqa: E402
from spatial_vlm_ros.perception import load_grounder  # noqa: E402
from spatial_vlm_ros.perception.backends.compact import load  # noqa: E402
from spatial_vlm_ros.perception.grounder import Grounder  # noqa: E402
from spatial_vlm_ros.sim.cameras import VGA, camera_of  # noqa: E402
from spatial_vlm_ros.sim.demo_worlds import DEMO_WORLDS  # noqa: E402
from spatial_vlm_ros.types import NounPhrase, Status  # noqa: E402
from spatial_vlm_ros.vlm.compact.familiarity import FAMILIARITY_FILE  # noqa: E402
from spatial_vlm_ros.vlm.compact.letterbox import letterbox  # noqa: E402
from spatial_vlm_ros.vlm.compact.model import CompactModel  # noqa: E402
from spatial_vlm_ros.vlm.compact.spec import read_spec  # noqa: E402
from spatial_vlm_ros.vlm.compact.tokens import encode  # noqa: E402

SHIPPED = Path(__file__).parents[3] / "models" / "compact"
NOUNS = [NounPhrase("chick"), NounPhrase("cup")]


@pytest.fixture(scope="module")
def grounder() -> Grounder:
    return load_grounder("compact", {"threads": "1"})


def test_it_is_small_and_has_a_card() -> None:
    assert sum(path.stat().st_size for path in SHIPPED.iterdir()) < 40_000_000
    assert (SHIPPED / "README.md").read_text(encoding="utf-8").startswith("# Model card")
    model = CompactModel.from_pretrained(SHIPPED, local_files_only=True)
    assert sum(weight.numel() for weight in model.parameters()) < 5_000_000


def test_torch_and_onnx_runtime_say_the_same_of_an_image(grounder: Grounder) -> None:
    spec = read_spec(SHIPPED)
    with DEMO_WORLDS["behind"]() as world:
        pixels, _ = letterbox(world.render(VGA).frame.rgb, spec.width, spec.height)
    words = encode(["chick", "red cup", "thing"], spec)
    model = CompactModel.from_pretrained(SHIPPED, local_files_only=True).eval()
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
    grounding = grounder.ground(seen.frame.rgb, NOUNS)
    assert 0.0 < grounder.distance(seen.frame.rgb) < grounder.limit
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


def test_the_shipped_model_declares_its_domain_and_is_familiar_with_larger_images(grounder: Grounder) -> None:
    assert grounder.domain == "simulated"
    with DEMO_WORLDS["behind"]() as world:
        rgb = world.render(camera_of(1280, 720)).frame.rgb
    assert 0.0 < grounder.distance(rgb) < grounder.limit
    assert grounder.ground(rgb, NOUNS).detections


def test_the_shipped_model_refuses_noise_and_may_be_told_to_answer(grounder: Grounder) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (480, 640, 3), np.uint8)
    with pytest.raises(UnfamiliarImageError, match="unfamiliar=answer") as caught:
        grounder.ground(noise, NOUNS)
    assert caught.value.distance == pytest.approx(grounder.distance(noise))
    assert caught.value.distance > caught.value.limit == grounder.limit
    answers = load(threads="1", unfamiliar="answer")
    assert answers.ground(noise, NOUNS).match.shape[0] == 2
    with pytest.raises(InputError, match="refuse or answer"):
        load(unfamiliar="maybe")


@pytest.mark.real_frames
def test_the_shipped_model_refuses_most_real_frames(grounder: Grounder, real_frames: Path) -> None:
    frames = [load_frame(path.parent)[0] for path in sorted(real_frames.glob("*/rgb.png"))]
    caught = sum(grounder.distance(frame.rgb) > grounder.limit for frame in frames)
    assert caught >= 0.75 * len(frames) > 0


def test_a_model_that_was_exported_without_features_answers_as_before(tmp_path: Path) -> None:
    onnx = pytest.importorskip("onnx")
    for name in ("config.json", FAMILIARITY_FILE):
        shutil.copy(SHIPPED / name, tmp_path / name)
    model = onnx.load(SHIPPED / "model.onnx")
    model.graph.output.remove(next(one for one in model.graph.output if one.name == "features"))
    onnx.save(model, tmp_path / "model.onnx")
    noise = np.random.default_rng(0).integers(0, 256, (480, 640, 3), np.uint8)
    older = load(str(tmp_path), threads="1")
    assert older.ground(noise, NOUNS).match.shape[0] == 2
    assert older.distance(noise) == 0.0
