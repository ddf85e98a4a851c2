# SPDX-License-Identifier: Apache-2.0
"""Images of benchmarks: links of the cache of Hugging Face, images that stay in their file, and hostile ones."""

from __future__ import annotations

import base64
import json
import os
import struct
import tracemalloc
import zlib
from pathlib import Path

import benchmark_folders as folders
import pytest
from benchmark_folders import damaged_of, image_cell, items_of, png, write_parquet

from spatial_vlm_ros.errors import FileError
from spatial_vlm_ros.evaluation.benchmarks import parquet_rows
from spatial_vlm_ros.evaluation.benchmarks.cv_bench import CV_BENCH
from spatial_vlm_ros.evaluation.benchmarks.embspatial import EMBSPATIAL
from spatial_vlm_ros.evaluation.benchmarks.parquet_rows import ParquetImage


def in_cache(folder: Path) -> Path:
    """CV-Bench as huggingface_hub stores it: a snapshot of links to blobs."""
    whole = folders.cv_bench(folder / "whole")
    repository = folder / "hub" / "datasets--nyu-visionx--CV-Bench"
    snapshot = repository / "snapshots" / "bc284db"
    (repository / "blobs").mkdir(parents=True)
    for n, file in enumerate(sorted(path for path in whole.rglob("*") if path.is_file())):
        blob = file.rename(repository / "blobs" / f"{n:040x}")
        link = snapshot / file.relative_to(whole)
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(os.path.relpath(blob, link.parent))
    return snapshot


def test_a_snapshot_of_the_cache_is_read_and_links_elsewhere_are_not(tmp_path: Path) -> None:
    snapshot = in_cache(tmp_path)
    items = items_of(CV_BENCH, snapshot)
    assert [one.key for one in items] == [str(n) for n in range(7)]
    assert items[0].image.read().shape == (30, 40, 3)
    shortcut = tmp_path / "CV-Bench"
    shortcut.symlink_to(snapshot)
    assert len(items_of(CV_BENCH, shortcut)) == 7
    repository = snapshot.parents[1]
    secret = folders.picture(tmp_path / "secret.png")
    other = folders.picture(tmp_path / "hub" / "datasets--other" / "blobs" / "0.png")
    below = folders.picture(repository / "blobs" / "deeper" / "0.png")
    for n, target in enumerate((secret, other, repository / "refs" / "x.png", below)):
        image = snapshot / "img" / "2D" / f"{n}.png"
        image.unlink()
        image.symlink_to(folders.picture(target))
    damaged = damaged_of(CV_BENCH, snapshot)
    assert list(damaged) == [f"test_2d.jsonl line {n}" for n in (1, 2, 3, 4)]
    assert all("symbolic link out of the folder" in reason for reason in damaged.values())


def test_blobs_that_are_a_link_or_outside_a_cache_are_not_followed(tmp_path: Path) -> None:
    snapshot = in_cache(tmp_path)
    blobs = snapshot.parents[1] / "blobs"
    blobs.rename(tmp_path / "elsewhere")
    blobs.symlink_to(tmp_path / "elsewhere")
    assert next(iter(damaged_of(CV_BENCH, snapshot))) == "test_2d.jsonl line 1"
    assert items_of(CV_BENCH, snapshot) == []
    folder = tmp_path / "data" / "snapshots" / "a"
    folder.parent.mkdir(parents=True)
    folders.cv_bench(folder)
    blob = folders.picture(tmp_path / "data" / "blobs" / "0.png")
    (folder / "img" / "2D" / "0.png").unlink()
    (folder / "img" / "2D" / "0.png").symlink_to(blob)
    assert list(damaged_of(CV_BENCH, folder)) == ["test_2d.jsonl line 1"]


def test_an_image_that_leaves_the_folder_or_is_no_file_is_damaged(tmp_path: Path) -> None:
    folder = folders.cv_bench(tmp_path / "cv")
    outside = folders.picture(tmp_path / "outside.png")
    images = folder / "img" / "2D"
    for n in (0, 1, 2):
        (images / f"{n}.png").unlink()
    (images / "0.png").symlink_to(outside)
    os.mkfifo(images / "1.png")
    (images / "2.png").symlink_to("/dev/zero")
    damaged = damaged_of(CV_BENCH, folder)
    assert list(damaged) == [f"test_2d.jsonl line {n}" for n in (1, 2, 3)]
    for reason, words in zip(damaged.values(), ("symbolic link", "does not exist", "does not exist"), strict=True):
        assert words in reason


# ------------------------------------------------------------------------------------------------ Parquet


def rows(count: int, size: int = 0) -> list[dict[str, object]]:
    """Rows of CV-Bench whose image has a value of its own, followed by bytes that no decoder looks at."""
    return [
        folders.cv_entry(n, "COCO", "Count", "(A)") | {"image": image_cell(png(value=n) + os.urandom(size))}
        for n in range(count)
    ]


def test_images_of_a_parquet_file_are_read_in_any_order(tmp_path: Path) -> None:
    pytest.importorskip("pyarrow")
    write_parquet(tmp_path / "test_2d.parquet", rows(11), row_group_size=4)
    items = items_of(CV_BENCH, tmp_path)
    for n in (0, 1, 5, 5, 3, 10, 9, 0):
        assert items[n].image.read()[0, 0].tolist() == [n, n, n]
    assert items[5].image.name == f"{tmp_path / 'test_2d.parquet'} at row 5, image"


def test_images_are_not_kept_in_memory(tmp_path: Path) -> None:
    pyarrow = pytest.importorskip("pyarrow")
    size, count = 1 << 18, 40
    write_parquet(tmp_path / "test_2d.parquet", rows(count, size), row_group_size=2)
    before, most = pyarrow.total_allocated_bytes(), 0
    tracemalloc.start()
    try:
        for item in items_of(CV_BENCH, tmp_path):
            item.image.read()
            most = max(most, pyarrow.total_allocated_bytes() - before)
        assert tracemalloc.get_traced_memory()[1] < 16 * size
    finally:
        tracemalloc.stop()
    assert most < 16 * size


def test_a_row_without_an_image_is_damaged_when_it_is_read(tmp_path: Path) -> None:
    pytest.importorskip("pyarrow")
    given = rows(3)
    given[1]["image"] = None
    write_parquet(tmp_path / "test_2d.parquet", given)
    items = items_of(CV_BENCH, tmp_path)
    with pytest.raises(FileError, match="the row has no image"):
        items[1].image.read()
    assert items[2].image.read()[0, 0].tolist() == [2, 2, 2]
    write_parquet(tmp_path / "test_2d.parquet", rows(4))
    with pytest.raises(FileError, match="it has changed since it was read"):
        items[2].image.read()


def test_what_is_decoded_at_once_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("pyarrow")
    monkeypatch.setattr(parquet_rows, "LARGEST_TEXT", 1 << 18)
    long = "x" * ((1 << 18) + 1)  # compressed, it has a few KiB
    path = tmp_path / "test_2d.parquet"
    write_parquet(path, [one | {"question": long} for one in rows(2)])
    assert path.stat().st_size < 1 << 15
    with pytest.raises(FileError, match=r"have [0-9]+ bytes in one group, more than"):
        items_of(CV_BENCH, tmp_path)
    monkeypatch.setattr(parquet_rows, "LARGEST_IMAGE", 1000)
    write_parquet(path, rows(2, 2000))
    image = items_of(CV_BENCH, tmp_path)[1].image
    assert isinstance(image, ParquetImage)
    with pytest.raises(FileError, match="more than 1000"):
        image.encoded()


# ------------------------------------------------------------------------------------------------ JSON


def test_images_of_embspatial_stay_in_the_file(tmp_path: Path) -> None:
    folder = folders.embspatial(tmp_path)
    listing = folder / "embspatial_bench.json"
    listing.write_text(json.dumps(json.loads(listing.read_text()), indent=3))  # blanks between the entries
    items = items_of(EMBSPATIAL, folder)
    assert [item.image.read().shape for item in items] == [(30, 40, 3)] * 4
    listing.write_text("[]")
    with pytest.raises(FileError, match=r"embspatial_bench\.json"):
        items[0].image.read()


def test_embspatial_refuses_an_image_that_is_damaged_when_it_is_read(tmp_path: Path) -> None:
    whole = folders.EMB[0]["image"]
    spoilt = {"not base64 text": "?" + whole[1:], "not a whole image": whole[:40], "not base64": 7}
    for reason, image in spoilt.items():
        item = items_of(EMBSPATIAL, folders.embspatial(tmp_path, [folders.EMB[0] | {"image": image}]))[0]
        with pytest.raises(FileError, match=reason) as error:
            item.image.read()
        assert error.value.field == "$[0].image"
    data = bytearray(png())
    data[16:24] = struct.pack(">II", 60_000, 60_000)
    data[29:33] = struct.pack(">I", zlib.crc32(data[12:29]))
    huge = folders.EMB[0] | {"image": base64.b64encode(bytes(data)).decode()}
    with pytest.raises(FileError, match="60000x60000"):  # before it is decoded
        items_of(EMBSPATIAL, folders.embspatial(tmp_path, [huge]))[0].image.read()
