# SPDX-License-Identifier: Apache-2.0
"""`spatial-vlm train` from the first image to an exported model that answers, and the images that it learns from."""

import json
import warnings
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from cli_runs import run
from tables import tables

pytest.importorskip("torch")
pytest.importorskip("transformers")
pytest.importorskip("mujoco")
pytest.importorskip("onnxscript")
from spatial_vlm_lab.sim.training_frames import training_frames, vocabulary
from spatial_vlm_lab.training.images import Samples
from spatial_vlm_ros.errors import UnfamiliarImageError
from spatial_vlm_ros.perception import load_grounder
from spatial_vlm_ros.perception.labels import label_fit
from spatial_vlm_ros.types import NounPhrase

TABLES = tables(__file__)

BACKEND = "spatial_vlm_ros.perception.backends.compact:load"
SPLIT = {
    "training": {"seeds": [10, 19], "views": 2},
    "validation": {"seeds": [20, 21], "views": 1},
    "test": {"seeds": [30, 31], "views": 1},
    "held_out_pairs": [["red", "mug"], ["blue", "box"]],
}


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    with warnings.catch_warnings():  # tensorboard's and the exporter's dependencies warn of each other
        warnings.simplefilter("ignore")
        yield


train = partial(run, "train")


def test_from_images_to_a_model_that_answers(tmp_path: Path) -> None:
    split, data, out = tmp_path / "split.json", tmp_path / "data", tmp_path / "out"
    split.write_text(json.dumps(SPLIT))
    every = ["--data", data, "--split", split, "--worlds", 2]
    made = train(*every, "--render-only")
    assert made.exit_code == 0, made.output
    samples = Samples(data, "training")
    assert 2 <= len(samples) <= 4
    assert samples[0].rgb.shape == (240, 320, 3)
    assert Samples(data, "test")[0].rgb.shape == (480, 640, 3)
    own = Samples(data, "calibration")
    assert own[0].rgb.shape == (480, 640, 3)
    for some in (samples, own):
        pairs = {(word, o.label) for n in range(len(some)) for o in some[n].objects for word in o.attributes}
        assert pairs
        assert not pairs & {("red", "mug"), ("blue", "box")}

    small = [*every, "--out", out, "--steps", 2, "--batch", 2, "--threads", 1]
    interrupted = train(*small, "--minutes", 1e-9)
    assert interrupted.exit_code == 0
    assert "interrupted" in interrupted.output
    too_early = train(*small, "--finish")
    assert too_early.exit_code == 3
    assert "no weights" in too_early.output
    done = train(*small, "--test", "--json", "--input", "336x256")
    assert done.exit_code == 0, done.output
    assert '{"scored on": "validation", "mAP@50": ' in done.output
    figures = json.loads((out / "figures.json").read_text())
    assert list(figures)[:3] == ["validation", "calibration", "test"]
    assert all(0 <= figures[part]["map50"] <= 1 and figures[part]["things"] for part in ("validation", "test"))
    config = json.loads((out / "model" / "config.json").read_text())
    assert config["names"]["bird"] == ["chick"]
    assert (config["width"], config["height"]) == (336, 256)
    assert config["score_scale"] > 0 >= config["score_rival"]
    assert (out / "checkpoint" / "state.safetensors").is_file()

    black, nouns = np.zeros((480, 640, 3), np.uint8), [NounPhrase("cup"), NounPhrase("chick")]
    with pytest.raises(UnfamiliarImageError):
        load_grounder(BACKEND, {"model": str(out / "model")}).ground(black, nouns)
    grounding = load_grounder(BACKEND, {"model": str(out / "model"), "unfamiliar": "answer"}).ground(black, nouns)
    assert config["domain"] == "simulated"
    assert grounding.match.shape == (2, len(grounding.detections))

    other = train(*every, "--out", out, "--steps", 3, "--batch", 2)
    assert other.exit_code == 3
    assert "settings" in other.output


@pytest.mark.parametrize(("words", "code", "said"), TABLES["mistakes are told"])
def test_mistakes_are_told(tmp_path: Path, words: list[object], code: int, said: str) -> None:
    split = tmp_path / "split.json"
    split.write_text(json.dumps(SPLIT))
    done = train("--data", tmp_path / "data", "--split", split, *words)
    assert done.exit_code == code
    assert said in done.output


SIZE = (160, 120)


def test_images_are_the_same_for_a_seed_and_instance_numbers_are_places_in_the_list_and_fill_the_boxes() -> None:
    first, again = (list(training_frames(41, 2, SIZE)) for _ in range(2))
    assert len(first) == 2
    for a, b in zip(first, again, strict=True):
        assert np.array_equal(a.rgb, b.rgb)
        assert np.array_equal(a.numbers, b.numbers)
        assert a.objects == b.objects
    assert not np.array_equal(first[0].rgb, first[1].rgb)
    for frame in training_frames(42, 2, SIZE):
        assert frame.rgb.shape == (120, 160, 3)
        assert set(np.unique(frame.numbers)) <= set(range(len(frame.objects) + 1))
        for n, one in enumerate(frame.objects, 1):
            rows, columns = np.nonzero(frame.numbers == n)
            assert (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1) == one.box_xyxy
            assert 0 < one.visible <= 1


def test_withheld_pairs_do_not_occur_and_names_mean_what_the_label_tables_say() -> None:
    withheld = {(colour, "cup") for colour in ("red", "blue", "green", "yellow", "white")} | {("black", "can")}
    frames = [frame for seed in range(50, 56) for frame in training_frames(seed, 1, SIZE, withheld)]
    seen = {(word, one.label) for frame in frames for one in frame.objects for word in one.attributes}
    assert any(label == "cup" for _, label in seen)
    assert not seen & withheld
    modifiers, names = vocabulary()
    assert {"red", "bonnet", "ribbon", "wooden"} <= set(modifiers)
    assert names["cup"] == ("cup",)
    assert names["fruit"] == ("apple", "banana", "orange", "lemon", "pear")
    assert names["tin"] == ("can",)
    assert all(label_fit(name, label) > 0.8 for name, labels in names.items() for label in labels)
