# SPDX-License-Identifier: Apache-2.0
"""Bags of ROS 1 answer as the same recording in ROS 2 does."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("rosbags")
from bag_builder import FIXED, T0, WORDS, BagBuilder, distance, replayed, scene, seconds
from rosbags.convert.converter import convert
from rosbags.typesys import Stores, get_types_from_msg, get_typestore

from spatial_vlm_ros.errors import FileError
from spatial_vlm_ros.evaluation.bags.reader import open_bag
from spatial_vlm_ros.evaluation.bags.types import CAMERA_INFO, DEFINITIONS, TF_MESSAGE


@pytest.fixture(scope="module")
def bags(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """One recording as MCAP, and converted to ROS 1."""
    folder = tmp_path_factory.mktemp("ros1")
    with BagBuilder(folder / "new") as builder:
        builder.stands(FIXED)
        for n in range(3):
            builder.frame(scene(), seconds(0.1 + n))
    store = get_typestore(Stores.ROS1_NOETIC)
    for name, text in DEFINITIONS.items():  # ROS 1 knows no bounds
        store.register(get_types_from_msg(text.replace("[<=1]", "[]"), name))
    convert([folder / "new"], folder / "old.bag", "mcap", 8, None, "file", None, store, [], [], [], [])
    return folder / "new", folder / "old.bag"


def test_topics_and_messages_have_the_names_of_ros_2(bags: tuple[Path, Path]) -> None:
    with open_bag(bags[1]) as old, open_bag(bags[0]) as new:
        assert old.topics == new.topics
        assert old.start_ns == new.start_ns == T0
        infos = [m.decode() for m in old.messages({"/rgb/camera_info"})]
        others = [m.decode() for m in new.messages({"/rgb/camera_info"})]
        assert len(infos) == 3
        assert np.array_equal(infos[0].k, others[0].k)
        assert (infos[0].width, infos[0].header.stamp.sec) == (others[0].width, others[0].header.stamp.sec)
        assert old.topics["/rgb/camera_info"] == CAMERA_INFO
        assert old.topics["/tf_static"] == TF_MESSAGE


def test_the_answers_are_the_same(bags: tuple[Path, Path]) -> None:
    new, old = (replayed(bag, WORDS)[0].resolution for bag in bags)
    assert (new.target.id, new.stamp_ns) == (old.target.id, old.stamp_ns)
    assert distance(new, old) < 1e-6


def test_its_bytes_are_not_played_into_ros_2(bags: tuple[Path, Path]) -> None:
    with open_bag(bags[1]) as old, pytest.raises(FileError, match=r"rosbags-convert --src old\.bag"):
        old.raw()


def test_a_file_that_ends_too_early_is_refused(bags: tuple[Path, Path], tmp_path: Path) -> None:
    cut = tmp_path / "cut.bag"
    cut.write_bytes(bags[1].read_bytes()[:5000])
    with pytest.raises(FileError, match=r"rosbag reindex cut\.bag"):
        open_bag(cut)
