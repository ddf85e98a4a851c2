# SPDX-License-Identifier: Apache-2.0
"""Where2Place in its published layout, made up in small; scores worked by hand."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from published_layouts import damaged_items, graded, png, whole_items

from spatial_vlm_ros.errors import FileError
from spatial_vlm_ros.evaluation.benchmarks.protocol import BenchmarkAnswer
from spatial_vlm_ros.evaluation.benchmarks.where2place import FILE, WHERE2PLACE, read_where2place, score_where2place

SIZE = (640, 480)
TEXT = "Pinpoint several points left of the sink. Your answer should be formatted as a list of tuples, i.e. [(x1, y1)]"


def write_lines(folder: Path, lines: list[dict[str, Any]]) -> None:
    (folder / FILE).write_text("\n".join(json.dumps(line) for line in lines))


@pytest.fixture
def bench(tmp_path: Path) -> Path:
    """Three questions; of the mask the left half is white, and a stripe at the right is grey, 51 of 255."""
    mask = np.zeros(SIZE[::-1], np.uint8)
    mask[:, :320] = 255
    mask[:, 560:] = 51
    for folder, name in (("images", "scene_{}.jpg"), ("masks", "{:02d}.jpg")):
        (tmp_path / folder).mkdir()
        for n in range(3):
            image = mask if folder == "masks" else cv2.imdecode(np.frombuffer(png(*SIZE), np.uint8), 1)
            cv2.imwrite(str(tmp_path / folder / name.format(n)), image)
    write_lines(tmp_path, [{"question_id": n + 7, "image": f"scene_{n}.jpg", "text": TEXT} for n in range(3)])
    return tmp_path


def test_a_pixel_counts_by_the_value_of_the_mask(bench: Path) -> None:
    items = whole_items(read_where2place, bench)
    assert [item.key for item in items] == ["00", "01", "02"]  # masks go by the line, not by question_id
    assert (items[0].prompt, items[0].phrase) == (TEXT, "Pinpoint several points left of the sink.")
    replies = ("[(0.1, 0.5), (0.75, 0.5)]", "[(0.95, 0.5)]", "(100, 100, 200, 200)")
    counted = [item.truth.credit(BenchmarkAnswer(text=text)) for item, text in zip(items, replies, strict=True)]
    assert counted == pytest.approx([0.5, 0.2, 1.0], abs=0.005)  # JPEG changes values a little
    (score,) = score_where2place(graded(items, counted))
    assert score.value == pytest.approx(1.7 / 3, abs=0.005)
    assert score.n == 3


def test_points_of_other_notations_are_of_the_image(bench: Path) -> None:
    truth = whole_items(read_where2place, bench)[0].truth
    assert truth.credit(BenchmarkAnswer(points=((0.1, 0.5),), text="(100, 500)")) == pytest.approx(1.0, abs=0.005)
    assert truth.credit(BenchmarkAnswer(points=((0.75, 0.5),))) == pytest.approx(0.0, abs=0.005)


def test_damaged_lines_are_named_and_damage_no_other(bench: Path) -> None:
    line = {"image": "scene_0.jpg", "text": TEXT}
    write_lines(bench, [line, line | {"image": "/etc/passwd"}, {"image": "scene_2.jpg"}, line])
    found = damaged_items(read_where2place, bench)
    assert len(found) == 3
    assert "leaves the folder" in found["01"]
    assert "03.jpg" in found["03"]  # four lines, three masks
    assert len(list(read_where2place(bench))) == 4
    with pytest.raises(FileError, match=r"wentao-yuan/where2place from huggingface.co"):
        list(WHERE2PLACE.read(bench / "masks"))
