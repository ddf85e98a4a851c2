# SPDX-License-Identifier: Apache-2.0
"""Rows come back from Parquet as they were; what is damaged or of another shard is not taken for a part."""

from __future__ import annotations

import random
from collections.abc import Sequence
from pathlib import Path

import pytest

pytest.importorskip("pyarrow")

from spatial_vlm_ros.errors import FileError, InputError
from spatial_vlm_ros.evaluation.engine.parts import fields_of, part_answers, part_bytes, read_merged, write_merged
from spatial_vlm_ros.evaluation.engine.shards import Row, Shard, ShardAnswers, configuration_digest, digest, in_batches

KEY = "0" * 40
ROWS: list[Row] = [
    {"id": "d1", "right": True, "n": 2**60, "iou": 0.1 + 0.2, "place": None, "kind": ["a", "b"], "message": "Größe"},
    {"id": None, "right": False, "n": -1, "iou": None, "place": None, "kind": [], "message": ""},
]  # fmt: skip


def made(rows: Sequence[Row]) -> bytes:
    return part_bytes(ShardAnswers(tuple(rows), ("the bag's end is damaged",)), KEY)


def rows_of(data: bytes, key: str) -> tuple[Row, ...] | None:
    answers = part_answers(data, key)
    assert answers is None or answers.notes == ("the bag's end is damaged",)
    return None if answers is None else answers.rows


def test_rows_come_back_as_they_were_and_the_same_rows_give_the_same_bytes() -> None:
    data = made(ROWS)
    assert rows_of(data, KEY) == tuple(ROWS)
    assert made([dict(row) for row in ROWS]) == data


def test_a_field_of_whole_and_broken_numbers_is_one_of_broken_numbers() -> None:
    data = made([{"iou": 1}, {"iou": 0.5}, {"iou": None}])
    assert rows_of(data, KEY) == ({"iou": 1.0}, {"iou": 0.5}, {"iou": None})


def test_a_part_without_rows_is_a_part() -> None:
    assert rows_of(made([]), KEY) == ()


def test_a_part_is_of_its_own_shard_alone() -> None:
    assert rows_of(made(ROWS), "1" * 40) is None


def test_no_part_that_is_cut_off_is_taken_for_whole() -> None:
    data = made(ROWS)
    assert all(rows_of(data[:length], KEY) is None for length in range(0, len(data), 7))


def test_a_part_with_a_changed_byte_gives_no_other_rows() -> None:
    data, rng = made(ROWS), random.Random(0)
    for _ in range(200):
        at = rng.randrange(len(data))
        changed = data[:at] + bytes([data[at] ^ 1 << rng.randrange(8)]) + data[at + 1 :]
        assert rows_of(changed, KEY) in (None, tuple(ROWS))


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        ([{"a": 1}, {"b": 1}], "fields that are not in every row: a, b"),
        ([{"a": float("nan")}], "field a of a row: nan"),
        ([{"a": {"x": 1}}], "field a of a row"),
        ([{"a": [1]}], "field a of a row"),
        ([{"a": "x"}, {"a": 1}], "field a of rows: str and int"),
    ],
)
def test_what_is_no_row_is_refused(rows: list[Row], words: str) -> None:
    with pytest.raises(InputError, match=words):
        made(rows)


def test_parts_merge_into_one_file_in_their_order(tmp_path: Path) -> None:
    parts = [ROWS, [], ROWS[::-1]]
    path = tmp_path / "rows.parquet"
    assert write_merged(path, parts, fields_of(row for rows in parts for row in rows), {"configuration": "c"}) == 4
    assert list(read_merged(path)) == [*ROWS, *ROWS[::-1]]
    again = tmp_path / "again.parquet"
    write_merged(again, iter(parts), fields_of(row for rows in parts for row in rows), {"configuration": "c"})
    assert again.read_bytes() == path.read_bytes()


@pytest.mark.parametrize("data", [b"", b"PAR1", b"no parquet at all, but some bytes"])
def test_a_file_that_holds_no_rows_is_refused(data: bytes, tmp_path: Path) -> None:
    (tmp_path / "rows.parquet").write_bytes(data)
    with pytest.raises(FileError, match=r"rows\.parquet"):
        list(read_merged(tmp_path / "rows.parquet"))
    with pytest.raises(FileError):
        list(read_merged(tmp_path / "none.parquet"))


def test_the_name_of_a_part_is_that_of_content_cases_and_configuration() -> None:
    shard = Shard("run1", "all", ("f1: the cup",), digest("content"), payload=1)
    same = Shard("run1", "another name", ("f1: the cup",), digest("content"), payload=2)
    one, other = configuration_digest({"model": "a", "version": 1}), configuration_digest({"model": "b", "version": 1})
    assert shard.key(one) == same.key(one)
    assert configuration_digest({"version": 1, "model": "a"}) == one
    changed = (
        Shard("run2", "all", shard.cases, shard.content), Shard("run1", "all", ("f1: the mug",), shard.content),
        Shard("run1", "all", shard.cases, digest("other content")),
    )  # fmt: skip
    assert len({shard.key(one), shard.key(other), *(each.key(one) for each in changed)}) == 5


def test_names_are_cut_into_batches_in_their_order() -> None:
    assert in_batches(["a", "b", "c"], 2) == [("a", "b"), ("c",)]
    assert in_batches([], 2) == []
