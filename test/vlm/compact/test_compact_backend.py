# SPDX-License-Identifier: Apache-2.0
"""The exported compact model: the same numbers as torch's, a grounder without torch, the shipped one, familiarity."""

import json
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from spatial_vlm_ros.errors import FileError, InputError
from spatial_vlm_ros.types import MODEL_DOMAINS
from spatial_vlm_ros.vlm.compact.decoding import letterbox
from spatial_vlm_ros.vlm.compact.familiarity import FAMILIARITY_FILE, Familiarity, fitted, pooled, read_familiarity
from spatial_vlm_ros.vlm.compact.spec import CompactSpec, spec_from

pytest.importorskip("compact_cases")
pytest.importorskip("onnxruntime")
pytest.importorskip("onnxscript")
pytest.importorskip("mujoco")
import compact_cases as cases
import onnxruntime
import torch

from spatial_vlm_lab.training.compact import TrainingRun
from spatial_vlm_lab.training.images import LabelledImage
from spatial_vlm_lab.training.loop import TrainingPhrase, TrainingSettings, label_phrases, make_batch, modified_phrases
from spatial_vlm_ros import Resolver
from spatial_vlm_ros.errors import ModelError, ShapeError, UnfamiliarImageError
from spatial_vlm_ros.perception import load_grounder
from spatial_vlm_ros.perception.backends.compact import load, merged
from spatial_vlm_ros.perception.grounder import Grounder
from spatial_vlm_ros.recording.frame_folder import load_frame
from spatial_vlm_ros.sim.settled import DEMO_WORLDS
from spatial_vlm_ros.sim.tabletop import VGA, camera_of
from spatial_vlm_ros.types import NounPhrase, Status
from spatial_vlm_ros.vlm.compact.decoding import Instance
from spatial_vlm_ros.vlm.compact.model import CompactModel, export, strip_traces
from spatial_vlm_ros.vlm.compact.spec import encode, read_spec

BACKEND = "spatial_vlm_ros.perception.backends.compact:load"
SHIPPED = Path(__file__).resolve().parents[3] / "models" / "compact"


def striped(sample: LabelledImage) -> LabelledImage:
    first, *others = sample.objects
    return replace(sample, objects=(replace(first, attributes=(*first.attributes, "striped")), *others))


@pytest.fixture(scope="module")
def learnt(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, CompactModel]:
    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp("compact")
    sample = striped(cases.drawn(1))
    phrases = [*label_phrases([sample]), *(p for p in modified_phrases([sample]) if "striped" in p.modifiers)]
    phrases += [TrainingPhrase(f"striped {one}", frozenset({one}), frozenset({"striped"})) for one in ("ball", "box")]
    batch = make_batch([sample], [list({p.text: p for p in phrases}.values())], cases.SPEC)
    run = TrainingRun(cases.small_config(), TrainingSettings(steps=90, rate=4e-3), folder / "run", torch.device("cpu"))
    assert run.train(lambda _: batch, lambda *_: None)
    export(run.model, folder / "model")
    return folder / "model", run.model.eval()


def says_the_same(session: Any, model: CompactModel, pixels: np.ndarray, phrases: list[str]) -> None:
    words = encode(phrases, model.config.spec)
    with torch.inference_mode():
        expected = [one.numpy() for one in model(torch.from_numpy(pixels), torch.from_numpy(words))]
    for mine, theirs in zip(session.run(None, {"pixels": pixels, "words": words}), expected, strict=True):
        assert mine.shape == theirs.shape
        assert np.abs(mine - theirs).max() < 1e-3 * max(1.0, float(np.abs(theirs).max()))


@pytest.mark.parametrize("number", [1, 7])
def test_torch_and_onnx_runtime_say_the_same(learnt: tuple[Path, CompactModel], number: int) -> None:
    folder, model = learnt
    session = onnxruntime.InferenceSession(str(folder / "model.onnx"), providers=["CPUExecutionProvider"])
    pixels = np.random.default_rng(number).uniform(0, 255, (1, 3, cases.HEIGHT, cases.WIDTH)).astype(np.float32)
    says_the_same(session, model, pixels, (["ball", "red box", "zebra"] * 3)[:number])


def test_stripping_removes_documentation_everywhere_and_nothing_else(tmp_path: Path) -> None:
    onnx = pytest.importorskip("onnx")
    make, floats = onnx.helper, onnx.TensorProto.FLOAT

    def model(told: dict[str, str]) -> Any:
        half = make.make_tensor("half", floats, [1], [0.5])
        if told:
            half.doc_string = told["doc_string"]
        branches = {}
        for name, operation in (("then_branch", "Neg"), ("else_branch", "Abs")):
            output = make.make_tensor_value_info(name, floats, [1])
            node = make.make_node(operation, ["x"], [name], name=operation, **told)
            branches[name] = make.make_graph([node], name, [], [output], **told)
        truth = make.make_node("Greater", ["x", "half"], ["truth"], **told)
        choice = make.make_node("If", ["truth"], ["y"], name="choice", **branches, **told)
        x = make.make_tensor_value_info("x", floats, [1], **told)
        y = make.make_tensor_value_info("y", floats, [1], **told)
        graph = make.make_graph([truth, choice], "graph", [x], [y], [half], **told)
        made = make.make_model(graph, opset_imports=[make.make_opsetid("", 18)], ir_version=10, **told)
        inner = made.graph.node[1].attribute[0].g.node[0]
        for part in (made, made.graph, *made.graph.node, *made.graph.input, inner) if told else ():
            part.metadata_props.add(key="pkg.torch.onnx.stack_trace", value=told["doc_string"])
        return made

    file = tmp_path / "model.onnx"
    onnx.save(model({"doc_string": "made by layers.py, line 3"}), file)
    assert file.read_bytes().count(b"layers.py") > 12
    strip_traces(file)
    assert b"layers.py" not in file.read_bytes()
    assert onnx.load(file) == model({})
    session = onnxruntime.InferenceSession(str(file), providers=["CPUExecutionProvider"])
    assert [session.run(None, {"x": np.array([x], np.float32)})[0].item() for x in (2.0, -3.0)] == [-2.0, 3.0]


def test_an_export_has_no_traces_and_what_is_no_model_stays(learnt: tuple[Path, CompactModel], tmp_path: Path) -> None:
    onnx = pytest.importorskip("onnx")
    file = tmp_path / "model.onnx"
    for folder in (learnt[0], SHIPPED):
        shutil.copy(folder / "model.onnx", file)
        strip_traces(file)
        assert file.read_bytes() == (folder / "model.onnx").read_bytes()
        graph = onnx.load(file).graph
        assert not [one for one in (*graph.node, *graph.value_info, *graph.input) if one.metadata_props]
    file.write_bytes(b"no model")
    for name in ("model.onnx", "absent.onnx"):
        with pytest.raises(FileError, match=name):
            strip_traces(tmp_path / name)
    assert file.read_bytes() == b"no model"


def test_the_backend_finds_what_the_model_has_learnt(learnt: tuple[Path, CompactModel]) -> None:
    sample = cases.drawn(1)
    labels = sorted({one.label for one in sample.objects})
    grounder = load_grounder(BACKEND, {"model": str(learnt[0]), "score": "0.3", "threads": "1"})
    grounding = grounder.ground(sample.rgb, [NounPhrase(label) for label in labels])

    assert grounding.match.shape == (len(labels), len(grounding.detections))
    assert len(grounding.detections) == len(sample.objects)
    for n, one in enumerate(sample.objects, 1):
        truth = sample.numbers == n
        fits = [k for k, d in enumerate(grounding.detections) if d.mask is not None and (d.mask & truth).sum()
                > 0.8 * (d.mask | truth).sum()]  # fmt: skip
        assert len(fits) == 1
        assert grounding.detections[fits[0]].label == one.label
        assert np.abs(np.subtract(grounding.detections[fits[0]].box_xyxy, one.box_xyxy)).max() < 2.5
        assert labels[int(grounding.match[:, fits[0]].argmax())] == one.label


def test_words_are_looked_for_but_colours_are_left_to_the_measurement(learnt: tuple[Path, CompactModel]) -> None:
    sample = cases.drawn(1)
    first = sample.objects[0]
    grounder = load_grounder(BACKEND, {"model": str(learnt[0]), "threads": "1"})
    said = [NounPhrase(label, attributes=("striped", "red", "unheard")) for label in ("ball", "box")]
    grounding = grounder.ground(sample.rgb, said)
    assert grounding.match.shape == (2, len(grounding.detections)) == (2, 3)
    for one in grounding.detections:
        is_first = bool(np.abs(np.subtract(one.box_xyxy, first.box_xyxy)).max() < 2.5)
        assert one.attributes == (("striped",) if is_first else ())


def test_boxes_and_masks_are_in_pixels_of_the_image_and_masks_optional(learnt: tuple[Path, CompactModel]) -> None:
    sample = cases.drawn(1)
    asked = [NounPhrase(sample.objects[0].label)]
    large = np.repeat(np.repeat(sample.rgb, 3, axis=0), 3, axis=1)
    grounder = load_grounder(BACKEND, {"model": str(learnt[0]), "threads": "1"})
    found = (grounder.ground(rgb, asked).detections for rgb in (sample.rgb, large))
    small, threefold = (sorted(some, key=lambda d: d.box_xyxy) for some in found)
    assert len(small) > 0
    for one, three in zip(small, threefold, strict=True):
        assert np.abs(3 * np.array(one.box_xyxy) - three.box_xyxy).max() < 6
        assert three.mask.shape == large.shape[:2]
    assert grounder.ground(sample.rgb, []).match.shape == (0, 0)
    bare = load_grounder(BACKEND, {"model": str(learnt[0]), "masks": "no"}).ground(sample.rgb, asked)
    assert [d.mask for d in bare.detections] == [None] * len(small)


def test_bad_images_and_phrases_are_refused(learnt: tuple[Path, CompactModel]) -> None:
    grounder = load_grounder(BACKEND, {"model": str(learnt[0])})
    rgb, ball = np.zeros((4, 4, 3), np.uint8), [NounPhrase("ball")]
    with pytest.raises(ShapeError):
        grounder.ground(rgb[..., 0], ball)
    for phrases, words in (([NounPhrase("--")], "noun"), (ball * 65, "at most")):
        with pytest.raises(InputError, match=words):
            grounder.ground(rgb, phrases)


def test_damaged_models_are_refused(learnt: tuple[Path, CompactModel], tmp_path: Path) -> None:
    with pytest.raises(FileError, match="spatial-vlm train"):
        load_grounder(BACKEND, {"model": str(tmp_path / "nowhere")})
    folder = tmp_path / "copy"
    shutil.copytree(learnt[0], folder)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "prototypes": 9}))
    with pytest.raises(ModelError, match="kernel"):
        load_grounder(BACKEND, {"model": str(folder)}).ground(cases.drawn(1).rgb, [NounPhrase("ball")])
    (folder / "config.json").write_text(json.dumps({**config, "words": ["ball", "ball"]}))
    with pytest.raises(InputError, match="each once"):
        load_grounder(BACKEND, {"model": str(folder)})
    shutil.copy(learnt[0] / "config.json", folder)
    (folder / "model.onnx").write_bytes(b"no model")
    with pytest.raises(ModelError, match="export"):
        load_grounder(BACKEND, {"model": str(folder)})
    (folder / "model.onnx").unlink()
    with pytest.raises(FileError):
        load_grounder(BACKEND, {"model": str(folder)})


def test_it_runs_without_torch(learnt: tuple[Path, CompactModel]) -> None:
    code = f"""
import sys
for name in ("torch", "transformers", "cv2", "mujoco", "safetensors"):
    sys.modules[name] = None  # importing it fails
import numpy as np
from spatial_vlm_ros.perception import load_grounder
from spatial_vlm_ros.types import NounPhrase
grounder = load_grounder({BACKEND!r}, {{"model": {str(learnt[0])!r}}})
print(grounder.ground(np.zeros((112, 160, 3), np.uint8), [NounPhrase("ball")]).match.shape[0])
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "1"


def test_an_object_of_two_phrases_is_one_and_two_objects_of_one_phrase_are_two() -> None:
    a = Instance(0, 0.9, (0, 0, 10, 10), (0, 0), (2.0, 0.0), (0, 0, 10, 10))
    b = Instance(1, 0.6, (0, 0, 10, 9), (0, 0), (0.4, 0.0), (0, 0, 10, 9))
    c = Instance(0, 0.5, (0, 0, 9, 10), (0, 1), (0.0, 0.0), (0, 0, 9, 10))
    d = Instance(1, 0.4, (30, 0, 40, 9), (0, 3), (-0.4, 0.0), (30, 0, 40, 9))
    assert merged([d, c, b, a]) == [[a, b], [c], [d]]
    assert merged([]) == []


NOUNS = [NounPhrase("chick"), NounPhrase("cup")]


@pytest.fixture(scope="module")
def grounder() -> Grounder:
    return load_grounder("compact", {"threads": "1"})


def test_the_shipped_model_is_small_and_has_a_card_and_says_the_same_in_both_forms(grounder: Grounder) -> None:
    assert sum(path.stat().st_size for path in SHIPPED.iterdir()) < 40_000_000
    assert (SHIPPED / "README.md").read_text(encoding="utf-8").startswith("# Model card")
    model = CompactModel.from_pretrained(SHIPPED, local_files_only=True).eval()
    assert sum(weight.numel() for weight in model.parameters()) < 5_000_000
    spec = read_spec(SHIPPED)
    with DEMO_WORLDS["behind"]() as world:
        pixels, _ = letterbox(world.render(VGA).frame.rgb, spec.width, spec.height)
    says_the_same(grounder._graph._session, model, pixels, ["chick", "red cup", "thing"])  # type: ignore[attr-defined]


@pytest.mark.parametrize("world", sorted(DEMO_WORLDS))
def test_it_finds_both_chicks_and_the_cup_and_nothing_else_under_these_names(grounder: Grounder, world: str) -> None:
    with DEMO_WORLDS[world]() as simulated:
        seen = simulated.render(VGA)
    grounding = grounder.ground(seen.frame.rgb, NOUNS)
    assert 0.0 < grounder.distance(seen.frame.rgb) < grounder.limit
    found = []
    for one in grounding.detections:
        shares = {id_: (one.mask & mask).sum() / (one.mask | mask).sum() for id_, mask in seen.masks.items()}
        found.append(max(shares, key=lambda id_: shares[id_]))
    sure = [id_ for id_, one in zip(found, grounding.detections, strict=True) if one.score >= 0.8]
    assert sorted(sure) == ["bonnet", "cup", "ribbon"]


def test_the_shipped_model_is_familiar_with_simulated_images_and_finds_no_more(grounder: Grounder) -> None:
    assert grounder.domain == "simulated"
    with DEMO_WORLDS["behind"]() as world:
        rgb = world.render(camera_of(1280, 720)).frame.rgb
    assert 0.0 < grounder.distance(rgb) < grounder.limit
    assert grounder.ground(rgb, NOUNS).detections
    with DEMO_WORLDS["behind"]() as simulated:
        frame = simulated.render(VGA).frame
    assert Resolver(grounder=grounder).resolve(frame, "grab me the zebra").status is Status.NOT_FOUND


def test_the_shipped_model_refuses_noise_and_may_be_told_to_answer(grounder: Grounder) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (480, 640, 3), np.uint8)
    with pytest.raises(UnfamiliarImageError, match="unfamiliar=answer") as caught:
        grounder.ground(noise, NOUNS)
    assert caught.value.distance == pytest.approx(grounder.distance(noise))
    assert caught.value.distance > caught.value.limit == grounder.limit
    answers = load(threads="1", unfamiliar="answer")
    assert answers.ground(noise, NOUNS).match.shape[0] == 2


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


PLAIN = Familiarity(np.zeros(2), np.diag([4.0, 1.0]), 1.5)


def test_the_distance_is_that_by_hand_of_averaged_features_and_is_kept_beside_the_model(tmp_path: Path) -> None:
    assert PLAIN.distance(np.array([3.0, 2.0])) == pytest.approx(((4 * 9 + 4) / 2) ** 0.5)
    assert PLAIN.distance(np.zeros(2)) == 0.0
    _, box = letterbox(np.zeros((90, 160, 3), np.uint8), 160, 112)  # fills 160x90 of 160x112: 5 of 7 rows of cells
    features = np.zeros((1, 2, 7, 10), np.float32)
    features[0, 0, :5], features[0, :, 5:] = 3.0, 1000.0
    assert pooled(features, box).tolist() == [3.0, 0.0]
    assert read_familiarity(tmp_path) is None
    PLAIN.write(tmp_path)
    again = read_familiarity(tmp_path)
    assert (again.mean.tolist(), again.precision.tolist(), again.limit) == ([0.0, 0.0], [[4.0, 0.0], [0.0, 1.0]], 1.5)


def test_a_fit_keeps_most_of_the_calibration_images_within_its_limit_whatever_never_changed() -> None:
    rng = np.random.default_rng(0)
    mixed = rng.normal(size=(6, 6))
    training, calibration, held_out = (rng.normal(size=(n, 6)) @ mixed + 5.0 for n in (400, 200, 1000))
    found = fitted(training, calibration)
    far = np.array([found.distance(one) for one in held_out])
    assert far.mean() == pytest.approx(1.0, abs=0.15)
    assert (far > found.limit).mean() < 0.05
    assert found.distance(training.mean(axis=0)) < 0.1
    assert found.distance(training.mean(axis=0) + 20.0 * np.ones(6)) > found.limit
    found = fitted(np.ones((5, 3)), np.ones((2, 3)))
    assert found.distance(np.ones(3)) < found.limit
    assert found.distance(np.full(3, 2.0)) > found.limit


PARTS = {"mean": np.zeros(2), "precision": np.eye(2), "limit": np.array(1.0)}


@pytest.mark.parametrize(
    "content",
    [
        *(b"", b"no archive", b"PK\x03\x04 cut off"),
        *({**PARTS, "mean": np.zeros(3)}, {**PARTS, "limit": np.array(-1.0)}, {**PARTS, "mean": np.full(2, np.nan)}),
        {"mean": np.zeros(2), "limit": np.array(1.0)},
    ],
    ids=["empty", "text", "cut", "sizes", "limit", "nan", "missing"],
)
def test_files_that_are_damaged_or_hold_impossible_numbers_are_named(tmp_path: Path, content: Any) -> None:
    path = tmp_path / FAMILIARITY_FILE
    path.write_bytes(content) if isinstance(content, bytes) else np.savez(path, **content)
    with pytest.raises(FileError, match=FAMILIARITY_FILE):
        read_familiarity(tmp_path)


def test_too_few_images_foreign_features_and_other_domains_are_refused(tmp_path: Path) -> None:
    for training, calibration in ((1, 5), (5, 0)):
        with pytest.raises(InputError, match="Render more worlds"):
            fitted(np.ones((training, 3)), np.ones((calibration, 3)))
    with pytest.raises(InputError, match="features"):
        PLAIN.distance(np.zeros(3))
    with pytest.raises(FileError):
        PLAIN.write(tmp_path / "nowhere")
    assert spec_from({"words": ["cup"]}).domain == CompactSpec(("cup",)).domain == "simulated"
    assert [spec_from({"words": ["cup"], "domain": word}).domain for word in MODEL_DOMAINS] == list(MODEL_DOMAINS)
    for domain in ("photos", 3, None):
        with pytest.raises(InputError, match="domain"):
            spec_from({"words": ["cup"], "domain": domain})
