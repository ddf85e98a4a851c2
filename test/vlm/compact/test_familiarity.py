# SPDX-License-Identifier: Apache-2.0
"""How far an image is from those trained on: the numbers, their file, and what the shipped model makes of it."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from spatial_vlm_ros.errors import FileError, InputError, UnfamiliarImageError
from spatial_vlm_ros.evaluation.frame_folder import load_frame
from spatial_vlm_ros.perception.backends.compact import load
from spatial_vlm_ros.types import MODEL_DOMAINS, NounPhrase
from spatial_vlm_ros.vlm.compact.familiarity import FAMILIARITY_FILE, Familiarity, fitted, pooled, read_familiarity
from spatial_vlm_ros.vlm.compact.letterbox import letterbox
from spatial_vlm_ros.vlm.compact.spec import CompactSpec, read_spec, spec_from

SHIPPED = Path(__file__).resolve().parents[3] / "models" / "compact"
NOUNS = [NounPhrase("chick"), NounPhrase("cup")]
PLAIN = Familiarity(np.zeros(2), np.diag([4.0, 1.0]), 1.5)


def test_the_distance_by_hand() -> None:
    assert PLAIN.distance(np.array([3.0, 2.0])) == pytest.approx(((4 * 9 + 4) / 2) ** 0.5)
    assert PLAIN.distance(np.zeros(2)) == 0.0


def test_features_are_averaged_over_what_the_image_fills() -> None:
    _, box = letterbox(np.zeros((90, 160, 3), np.uint8), 160, 112)  # fills 160x90 of 160x112: 5 of 7 rows of cells
    features = np.zeros((1, 2, 7, 10), np.float32)
    features[0, 0, :5], features[0, :, 5:] = 3.0, 1000.0
    assert pooled(features, box).tolist() == [3.0, 0.0]


def test_a_fit_keeps_most_of_the_calibration_images_within_its_limit_and_others_beyond() -> None:
    rng = np.random.default_rng(0)
    mixed = rng.normal(size=(6, 6))
    training, calibration, held_out = (rng.normal(size=(n, 6)) @ mixed + 5.0 for n in (400, 200, 1000))
    found = fitted(training, calibration)
    far = np.array([found.distance(one) for one in held_out])
    assert far.mean() == pytest.approx(1.0, abs=0.15)
    assert (far > found.limit).mean() < 0.05
    assert found.distance(training.mean(axis=0)) < 0.1
    assert found.distance(training.mean(axis=0) + 20.0 * np.ones(6)) > found.limit


def test_features_that_never_changed_do_not_divide_by_zero() -> None:
    found = fitted(np.ones((5, 3)), np.ones((2, 3)))
    assert found.distance(np.ones(3)) < found.limit
    assert found.distance(np.full(3, 2.0)) > found.limit


@pytest.mark.parametrize(("training", "calibration"), [(1, 5), (5, 0)])
def test_too_few_images_are_refused(training: int, calibration: int) -> None:
    with pytest.raises(InputError, match="Render more worlds"):
        fitted(np.ones((training, 3)), np.ones((calibration, 3)))


def test_features_of_another_model_are_refused() -> None:
    with pytest.raises(InputError, match="features"):
        PLAIN.distance(np.zeros(3))


def test_it_is_kept_beside_the_model(tmp_path: Path) -> None:
    assert read_familiarity(tmp_path) is None
    PLAIN.write(tmp_path)
    again = read_familiarity(tmp_path)
    assert again is not None
    assert (again.mean.tolist(), again.precision.tolist(), again.limit) == ([0.0, 0.0], [[4.0, 0.0], [0.0, 1.0]], 1.5)
    with pytest.raises(FileError):
        PLAIN.write(tmp_path / "nowhere")


@pytest.mark.parametrize("data", [b"", b"no archive", b"PK\x03\x04 cut off"])
def test_a_damaged_file_is_named(tmp_path: Path, data: bytes) -> None:
    (tmp_path / FAMILIARITY_FILE).write_bytes(data)
    with pytest.raises(FileError, match=FAMILIARITY_FILE):
        read_familiarity(tmp_path)


@pytest.mark.parametrize(
    "parts",
    [
        {"mean": np.zeros(3), "precision": np.eye(2), "limit": np.array(1.0)},
        {"mean": np.zeros(2), "precision": np.eye(2), "limit": np.array(-1.0)},
        {"mean": np.full(2, np.nan), "precision": np.eye(2), "limit": np.array(1.0)},
        {"mean": np.zeros(2), "limit": np.array(1.0)},
    ],
    ids=["sizes", "limit", "nan", "missing"],
)
def test_numbers_that_cannot_be_are_refused(tmp_path: Path, parts: dict[str, np.ndarray]) -> None:
    np.savez(tmp_path / FAMILIARITY_FILE, **parts)  # type: ignore[arg-type]
    with pytest.raises(FileError, match=FAMILIARITY_FILE):
        read_familiarity(tmp_path)


# ------------------------------------------------------------------------------------------------ domain


def test_a_spec_without_a_domain_is_of_simulated_images() -> None:
    assert spec_from({"words": ["cup"]}).domain == CompactSpec(("cup",)).domain == "simulated"
    assert [spec_from({"words": ["cup"], "domain": word}).domain for word in MODEL_DOMAINS] == list(MODEL_DOMAINS)
    assert read_spec(SHIPPED).domain == "simulated"


@pytest.mark.parametrize("domain", ["photos", 3, None])
def test_a_spec_with_another_domain_is_refused(domain: object) -> None:
    with pytest.raises(InputError, match="domain"):
        spec_from({"words": ["cup"], "domain": domain})


# ------------------------------------------------------------------------------------------------ shipped model


def test_the_shipped_model_declares_its_domain_and_answers_about_its_own_worlds() -> None:
    pytest.importorskip("onnxruntime")
    pytest.importorskip("mujoco")
    from spatial_vlm_ros.sim.cameras import camera_of
    from spatial_vlm_ros.sim.demo_worlds import DEMO_WORLDS

    grounder = load(threads="1")
    assert grounder.domain == "simulated"
    for make in DEMO_WORLDS.values():
        with make() as world:
            for size in ((640, 480), (1280, 720)):
                rgb = world.render(camera_of(*size)).frame.rgb
                assert 0.0 < grounder.distance(rgb) < grounder.limit
                assert grounder.ground(rgb, NOUNS).detections


def test_the_shipped_model_refuses_noise_and_may_be_told_to_answer() -> None:
    pytest.importorskip("onnxruntime")
    noise = np.random.default_rng(0).integers(0, 256, (480, 640, 3), np.uint8)
    grounder = load(threads="1")
    with pytest.raises(UnfamiliarImageError, match="unfamiliar=answer") as caught:
        grounder.ground(noise, NOUNS)
    assert caught.value.distance == pytest.approx(grounder.distance(noise))
    assert caught.value.distance > caught.value.limit == grounder.limit
    answers = load(threads="1", unfamiliar="answer")
    assert answers.ground(noise, NOUNS).match.shape[0] == 2
    with pytest.raises(InputError, match="refuse or answer"):
        load(unfamiliar="maybe")


@pytest.mark.real_frames
def test_the_shipped_model_refuses_most_real_frames(real_frames: Path) -> None:
    pytest.importorskip("onnxruntime")
    grounder = load(threads="1")
    frames = [load_frame(path.parent)[0] for path in sorted(real_frames.glob("*/rgb.png"))]
    caught = sum(grounder.distance(frame.rgb) > grounder.limit for frame in frames)
    assert caught >= 0.75 * len(frames) > 0


def test_a_model_that_was_exported_without_features_answers_as_before(tmp_path: Path) -> None:
    onnx = pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    for name in ("config.json", FAMILIARITY_FILE):
        shutil.copy(SHIPPED / name, tmp_path / name)
    model = onnx.load(SHIPPED / "model.onnx")
    model.graph.output.remove(next(one for one in model.graph.output if one.name == "features"))
    onnx.save(model, tmp_path / "model.onnx")
    noise = np.random.default_rng(0).integers(0, 256, (480, 640, 3), np.uint8)
    older = load(str(tmp_path), threads="1")
    assert older.ground(noise, NOUNS).match.shape[0] == 2
    assert older.distance(noise) == 0.0
