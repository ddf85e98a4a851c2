# SPDX-License-Identifier: Apache-2.0
"""The exported model: the same numbers as torch's, and a grounder that needs no torch."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")
onnxruntime = pytest.importorskip("onnxruntime")
pytest.importorskip("onnxscript")

import compact_cases as cases  # noqa: E402

from spatial_vlm_ros.errors import FileError, InputError, ModelError, ShapeError  # noqa: E402
from spatial_vlm_ros.perception import load_grounder  # noqa: E402
from spatial_vlm_ros.perception.backends.compact import merged  # noqa: E402
from spatial_vlm_ros.vlm.compact.batches import make_batch  # noqa: E402
from spatial_vlm_ros.vlm.compact.decoding import Instance  # noqa: E402
from spatial_vlm_ros.vlm.compact.export import export, strip_traces  # noqa: E402
from spatial_vlm_ros.vlm.compact.model import CompactModel  # noqa: E402
from spatial_vlm_ros.vlm.compact.phrasing import TrainingPhrase, label_phrases, modified_phrases  # noqa: E402
from spatial_vlm_ros.vlm.compact.shards import LabelledImage  # noqa: E402
from spatial_vlm_ros.vlm.compact.tokens import encode  # noqa: E402
from spatial_vlm_ros.vlm.compact.training import TrainingRun, TrainingSettings  # noqa: E402

BACKEND = "spatial_vlm_ros.perception.backends.compact:load"
SHIPPED = Path(__file__).resolve().parents[3] / "models" / "compact"


def striped(sample: LabelledImage) -> LabelledImage:
    """The same image, whose first object is called striped."""
    first, *others = sample.objects
    return replace(sample, objects=(replace(first, attributes=(*first.attributes, "striped")), *others))


@pytest.fixture(scope="module")
def learnt(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, CompactModel]:
    """A small model that knows one image by heart, exported."""
    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp("compact")
    sample = striped(cases.drawn(1))
    phrases = [*label_phrases([sample]), *(p for p in modified_phrases([sample]) if "striped" in p.modifiers)]
    phrases += [
        TrainingPhrase(f"striped {label}", frozenset({label}), frozenset({"striped"})) for label in ("ball", "box")
    ]
    batch = make_batch([sample], [list({p.text: p for p in phrases}.values())], cases.SPEC)
    run = TrainingRun(cases.small_config(), TrainingSettings(steps=90, rate=4e-3), folder / "run", torch.device("cpu"))
    for _ in range(90):
        run.one_step(batch)
    export(run.model, folder / "model")
    return folder / "model", run.model.eval()


@pytest.mark.parametrize("number", [1, 7])
def test_torch_and_onnx_runtime_say_the_same(learnt: tuple[Path, CompactModel], number: int) -> None:
    folder, model = learnt
    session = onnxruntime.InferenceSession(str(folder / "model.onnx"), providers=["CPUExecutionProvider"])
    pixels = np.random.default_rng(number).uniform(0, 255, (1, 3, cases.HEIGHT, cases.WIDTH)).astype(np.float32)
    words = encode((["ball", "red box", "zebra"] * 3)[:number], cases.SPEC)
    said = session.run(None, {"pixels": pixels, "words": words})
    with torch.inference_mode():
        output, features = model.with_features(torch.from_numpy(pixels), torch.from_numpy(words))
        expected = [t.numpy() for t in (*output, features)]
    for mine, theirs in zip(said, expected, strict=True):
        assert mine.shape == theirs.shape
        assert np.abs(mine - theirs).max() < 1e-3 * max(1.0, float(np.abs(theirs).max()))


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


def test_an_export_has_no_traces_of_the_exporter_and_what_is_no_model_is_not_stripped(
    learnt: tuple[Path, CompactModel], tmp_path: Path
) -> None:
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


def test_the_backend_finds_what_the_model_has_learnt(learnt: tuple[Path, CompactModel], noun: type) -> None:
    sample = cases.drawn(1)
    labels = sorted({one.label for one in sample.objects})
    grounder = load_grounder(BACKEND, {"model": str(learnt[0]), "score": "0.3", "threads": "1"})
    grounding = grounder.ground(sample.rgb, [noun(label) for label in labels])

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


def test_words_that_are_no_colours_are_looked_for_and_colours_are_left_to_the_measurement(
    learnt: tuple[Path, CompactModel], noun: type
) -> None:
    sample = cases.drawn(1)
    first = sample.objects[0]
    grounder = load_grounder(BACKEND, {"model": str(learnt[0]), "threads": "1"})
    said = [noun(label, attributes=("striped", "red", "unheard")) for label in ("ball", "box")]
    grounding = grounder.ground(sample.rgb, said)
    assert grounding.match.shape == (2, len(grounding.detections)) == (2, 3)
    for one in grounding.detections:
        is_first = bool(np.abs(np.subtract(one.box_xyxy, first.box_xyxy)).max() < 2.5)
        assert one.attributes == (("striped",) if is_first else ())


def test_boxes_and_masks_are_in_pixels_of_the_image_and_masks_may_be_left_out(
    learnt: tuple[Path, CompactModel], noun: type
) -> None:
    sample = cases.drawn(1)
    asked = [noun(sample.objects[0].label)]
    large = np.repeat(np.repeat(sample.rgb, 3, axis=0), 3, axis=1)
    grounder = load_grounder(BACKEND, {"model": str(learnt[0]), "threads": "1"})
    small, threefold = (
        sorted(grounder.ground(rgb, asked).detections, key=lambda d: d.box_xyxy) for rgb in (sample.rgb, large)
    )
    assert len(small) > 0
    for one, three in zip(small, threefold, strict=True):
        assert np.abs(3 * np.array(one.box_xyxy) - three.box_xyxy).max() < 6
        assert three.mask is not None
        assert three.mask.shape == large.shape[:2]
    assert grounder.ground(sample.rgb, []).match.shape == (0, 0)
    bare = load_grounder(BACKEND, {"model": str(learnt[0]), "masks": "no"}).ground(sample.rgb, asked)
    assert [d.mask for d in bare.detections] == [None] * len(small)


def test_bad_images_phrases_and_options_are_refused(learnt: tuple[Path, CompactModel], noun: type) -> None:
    grounder = load_grounder(BACKEND, {"model": str(learnt[0])})
    rgb = np.zeros((4, 4, 3), np.uint8)
    with pytest.raises(ShapeError):
        grounder.ground(rgb[..., 0], [noun("ball")])
    with pytest.raises(InputError, match="noun"):
        grounder.ground(rgb, [noun("--")])
    with pytest.raises(InputError, match="at most"):
        grounder.ground(rgb, [noun("ball")] * 65)
    for name, value in (("score", "2"), ("score", "much"), ("threads", "-1"), ("masks", "perhaps"), ("colour", "red")):
        with pytest.raises(InputError):
            load_grounder(BACKEND, {"model": str(learnt[0]), name: value})


def test_damaged_models_are_refused(learnt: tuple[Path, CompactModel], tmp_path: Path, noun: type) -> None:
    with pytest.raises(FileError, match="spatial-vlm train"):
        load_grounder(BACKEND, {"model": str(tmp_path / "nowhere")})
    folder = tmp_path / "copy"
    shutil.copytree(learnt[0], folder)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "prototypes": 9}))
    with pytest.raises(ModelError, match="kernel"):
        load_grounder(BACKEND, {"model": str(folder)}).ground(cases.drawn(1).rgb, [noun("ball")])
    (folder / "config.json").write_text(json.dumps({**config, "words": ["ball", "ball"]}))
    with pytest.raises(InputError, match="each once"):
        load_grounder(BACKEND, {"model": str(folder)})
    shutil.copy(learnt[0] / "config.json", folder)
    (folder / "model.onnx").write_bytes(b"no model")
    with pytest.raises(ModelError, match="Export"):
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
