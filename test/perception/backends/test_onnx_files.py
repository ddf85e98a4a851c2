# SPDX-License-Identifier: Apache-2.0
"""What an ONNX file may name is looked at before ONNX Runtime opens it; graphs are made by the package onnx."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

pytest.importorskip("onnx")
import onnx
from onnx import TensorProto, helper

from spatial_vlm_ros.errors import ModelError
from spatial_vlm_ros.perception.backends.onnx_files import check_graph


def weight(location: str | None = None, offset: int = 0, length: int = 8, name: str = "w") -> Any:
    """A tensor of two numbers; with a location its data lie in that file."""
    tensor = helper.make_tensor(name, TensorProto.FLOAT, [2], [1.0, 2.0])
    if location is not None:
        tensor.ClearField("float_data")
        tensor.data_location = TensorProto.EXTERNAL
        for key, value in {"location": location, "offset": offset, "length": length}.items():
            tensor.external_data.add(key=key, value=str(value))
    return tensor


def graph_of(nodes: list[Any], weights: list[Any]) -> Any:
    sides = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [2]) for name in ("x", "y")]
    return helper.make_graph(nodes, "g", sides[:1], sides[1:], weights)


def model_of(*weights: Any, domain: str = "", nodes: list[Any] | None = None) -> Any:
    add = helper.make_node("Add", ["x", "w"], ["y"], domain=domain)
    opsets = [helper.make_opsetid("", 18), helper.make_opsetid(domain or "ai.onnx.ml", 1)]
    return helper.make_model(graph_of(nodes or [add], list(weights or [weight()])), opset_imports=opsets)


def checked(folder: Path, model: Any) -> None:
    path = folder / "model.onnx"
    path.write_bytes(model.SerializeToString())
    check_graph(path, "test")


def refusal(folder: Path, model: Any) -> str:
    with pytest.raises(ModelError) as raised:
        checked(folder, model)
    assert raised.value.repair
    return str(raised.value)


def test_a_graph_with_its_weights_inside_or_beside_it_passes(tmp_path: Path) -> None:
    checked(tmp_path, model_of())
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "weights.bin").write_bytes(bytes(16))
    checked(tmp_path, model_of(weight("data/weights.bin", offset=8)))
    checked(tmp_path, model_of(domain="com.microsoft"))


def test_weights_elsewhere_or_not_whole_are_refused(tmp_path: Path) -> None:
    (tmp_path / "weights.bin").write_bytes(bytes(16))
    (tmp_path / "model").mkdir()
    folder = tmp_path / "model"
    for location in ("/etc/passwd", "../weights.bin", "a/../../weights.bin", "..\\weights.bin", "C:\\weights.bin",
                     "C:weights.bin", "\\\\server\\weights.bin", ""):  # fmt: skip
        assert "outside its folder" in refusal(folder, model_of(weight(location))), location
    (folder / "link.bin").symlink_to(tmp_path / "weights.bin")
    assert "link" in refusal(folder, model_of(weight("link.bin")))
    for size, offset, length in ((0, 0, 8), (7, 0, 8), (8, 4, 8)):
        if size:
            (folder / "weights.bin").write_bytes(bytes(size))
        assert "missing or incomplete" in refusal(folder, model_of(weight("weights.bin", offset, length)))


def test_a_description_that_contradicts_itself_is_refused(tmp_path: Path) -> None:
    (tmp_path / "weights.bin").write_bytes(bytes(8))
    for key, value in (("offset", "x"), ("length", "-8")):
        tensor = weight("weights.bin")
        next(entry for entry in tensor.external_data if entry.key == key).value = value
        assert "damaged" in refusal(tmp_path, model_of(tensor))
    tensor = weight("weights.bin")  # twice: whoever reads the first one and whoever reads the last one would differ
    tensor.external_data.add(key="location", value="/etc/passwd")
    assert "damaged" in refusal(tmp_path, model_of(tensor))


def in_attribute(tensor: Any) -> Any:
    return model_of(nodes=[helper.make_node("Constant", [], ["y"], value=tensor)])


def in_subgraph(tensor: Any) -> Any:
    branch = helper.make_graph([], "b", [], [helper.make_tensor_value_info("w", TensorProto.FLOAT, [2])], [tensor])
    return model_of(nodes=[helper.make_node("If", ["x"], ["y"], then_branch=branch, else_branch=branch)])


def in_sparse(tensor: Any) -> Any:
    model, indices = model_of(), helper.make_tensor("i", TensorProto.INT64, [2], [0, 1])
    model.graph.sparse_initializer.append(helper.make_sparse_tensor(tensor, indices, [9]))
    return model


def in_function(tensor: Any) -> Any:
    constant, opsets = helper.make_node("Constant", [], ["z"], value=tensor), [helper.make_opsetid("", 18)]
    model = model_of(nodes=[helper.make_node("Own", ["x"], ["y"], domain="own")])
    model.functions.append(helper.make_function("own", "Own", ["a"], ["z"], [constant], opsets))
    return model


def in_training(tensor: Any) -> Any:
    model = model_of()
    model.training_info.add().algorithm.CopyFrom(graph_of([], [tensor]))
    return model


@pytest.mark.parametrize("place", [in_attribute, in_subgraph, in_sparse, in_function, in_training])
def test_weights_elsewhere_are_found_wherever_they_are_named(tmp_path: Path, place: Callable[[Any], Any]) -> None:
    checked(tmp_path, place(weight()))
    assert "outside its folder" in refusal(tmp_path, place(weight("/etc/passwd")))


def test_foreign_operators_a_compiled_engine_and_a_second_graph_are_refused(tmp_path: Path) -> None:
    assert "operators of com.someone" in refusal(tmp_path, model_of(domain="com.someone"))
    engine = helper.make_node("EPContext", ["x"], ["y"], domain="com.microsoft", ep_cache_context="../engine.bin")
    assert "EPContext" in refusal(tmp_path, model_of(nodes=[engine], domain="com.microsoft"))
    (tmp_path / "model.onnx").write_bytes(model_of().SerializeToString() * 2)
    with pytest.raises(ModelError, match="not an ONNX file"):
        check_graph(tmp_path / "model.onnx", "test")


def test_every_place_where_a_file_may_end_is_refused(tmp_path: Path) -> None:
    content, path = model_of().SerializeToString(), tmp_path / "model.onnx"
    whole = onnx.load_model_from_string(content)
    for end in range(len(content)):
        path.write_bytes(content[:end])
        try:
            check_graph(path, "test")
        except ModelError:
            continue
        assert onnx.load_model_from_string(content[:end]).graph == whole.graph  # what is missing lies behind the graph


@given(st.binary(max_size=300), st.integers(0, 2**32))
def test_no_bytes_end_in_another_error(tmp_path_factory: pytest.TempPathFactory, junk: bytes, seed: int) -> None:
    path = tmp_path_factory.getbasetemp() / "junk.onnx"
    content = bytearray(model_of(weight("/etc/passwd")).SerializeToString())
    chance = random.Random(seed)
    for _ in range(4):
        content[chance.randrange(len(content))] ^= 1 << chance.randrange(8)
    for each in (junk, bytes(content)):
        path.write_bytes(each)
        try:
            check_graph(path, "test")
        except ModelError:
            continue
