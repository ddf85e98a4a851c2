# SPDX-License-Identifier: Apache-2.0
"""What'sUp in its published layout, made up in small; scores worked by hand."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from spatial_vlm_ros.errors import FileError, InputError
from spatial_vlm_ros.evaluation.whatsup import read_whatsup, score_whatsup

A = ("left_of", "right_of", "on", "under")


def write(folder: Path, names: list[str], listing: str = "controlled_images_dataset.json",
          images: str = "controlled_images") -> Path:  # fmt: skip
    (folder / images).mkdir(parents=True)
    entries = []
    for name in names:
        (folder / images / name).write_bytes(b"picture")
        entries.append({"image_path": f"data/{images}/{name}", "caption_options": [f"{w} {name}" for w in "abcd"]})
    (folder / listing).write_text(json.dumps(entries))
    return folder


def test_items_name_their_objects_and_relation(tmp_path: Path) -> None:
    items = read_whatsup(write(tmp_path, [f"beer-bottle_{r}_armchair.jpeg" for r in A]), "A")
    assert [(i.obj, i.relation, i.anchor) for i in items] == [("beer-bottle", r, "armchair") for r in A]
    assert items[0].image == tmp_path / "controlled_images" / "beer-bottle_left_of_armchair.jpeg"
    assert items[0].captions[0].startswith("a ")


def test_set_b_has_front_and_behind(tmp_path: Path) -> None:
    names = ["book_in-front_of_candle.jpeg", "book_behind_candle.jpeg"]
    items = read_whatsup(write(tmp_path, names, "controlled_clevr_dataset.json", "controlled_clevr"), "B")
    assert [i.relation for i in items] == ["in-front_of", "behind"]
    found = score_whatsup(items, [0, 0])
    assert (found.pairs.k, found.pairs.n, found.sets.n) == (1, 1, 0)


def test_pairs_and_sets_need_all_their_images_right(tmp_path: Path) -> None:
    names = [f"cup_{r}_table.jpeg" for r in A] + [f"can_{r}_chair.jpeg" for r in A] + ["hat_on_box.jpeg"]
    items = read_whatsup(write(tmp_path, names), "A")
    found = score_whatsup(items, [0, 0, 0, 0, 0, 0, 3, 0, None])
    assert (found.accuracy.k, found.accuracy.n) == (7, 9)
    assert (found.pairs.k, found.pairs.n) == (3, 4)
    assert (found.sets.k, found.sets.n) == (1, 2)
    assert {name: (s.k, s.n) for name, s in found.by_relation.items()} == {
        "left_of": (2, 2), "on": (1, 3), "right_of": (2, 2), "under": (2, 2)
    }  # fmt: skip
    for chosen in ([0] * 8, [0] * 8 + [4]):
        with pytest.raises(InputError, match="0 to 3 or None"):
            score_whatsup(items, chosen)


def test_what_is_not_there_or_not_as_published_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileError, match=r"controlled_images_dataset\.json.*whatsup_vlms"):
        read_whatsup(tmp_path, "A")
    folder = write(tmp_path, ["cup_on_table.jpeg"])
    (folder / "controlled_images" / "cup_on_table.jpeg").unlink()
    with pytest.raises(FileError, match="no such picture"):
        read_whatsup(folder, "A")
    for entries, words in (
        ([{"image_path": "cup_above_table.jpeg", "caption_options": list("abcd")}], r"\$\[0\].*set A"),
        ([{"image_path": "cup_on_table.jpeg", "caption_options": list("abc")}], "length 4"),
        ([{"image_path": "cup_on_table.jpeg", "caption_options": list("abca")}], "the same"),
        ({"image_path": 3}, "array"),
    ):
        (folder / "controlled_images_dataset.json").write_text(json.dumps(entries))
        with pytest.raises(FileError, match=words):
            read_whatsup(folder, "A")
