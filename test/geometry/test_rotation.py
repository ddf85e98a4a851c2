# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from spatial_vlm_ros.errors import InputError, ShapeError
from spatial_vlm_ros.geometry.rotation import matrix_from_quaternion_xyzw, quaternion_xyzw_from_matrix

component = st.floats(-1, 1)
axes = st.tuples(component, component, component).filter(lambda v: np.linalg.norm(v) > 0.1)


def rotation(axis: tuple[float, float, float], angle: float) -> Rotation:
    return Rotation.from_rotvec(np.array(axis) / np.linalg.norm(axis) * angle)


@given(axis=axes, angle=st.floats(-np.pi, np.pi))
def test_quaternions_are_scipys(axis: tuple[float, float, float], angle: float) -> None:
    expected = rotation(axis, angle).as_quat()
    assume(abs(expected[3]) > 1e-6)
    got = quaternion_xyzw_from_matrix(rotation(axis, angle).as_matrix())
    np.testing.assert_allclose(got, expected * np.sign(expected[3]), atol=1e-7)
    assert got[3] >= 0


@given(axis=axes, angle=st.floats(-2 * np.pi, 2 * np.pi))
def test_matrices_are_scipys(axis: tuple[float, float, float], angle: float) -> None:
    expected = rotation(axis, angle)
    np.testing.assert_allclose(matrix_from_quaternion_xyzw(expected.as_quat()), expected.as_matrix(), atol=1e-12)


@given(
    axis=axes,
    angle=st.one_of(
        st.floats(-np.pi, np.pi),
        st.sampled_from([0.0, 1e-9, 1e-7, 1e-5, np.pi / 2, np.pi - 1e-9, np.pi - 1e-6, np.pi]),
    ),
)
def test_a_rotation_survives_the_way_there_and_back(axis: tuple[float, float, float], angle: float) -> None:
    matrix = rotation(axis, angle).as_matrix()
    np.testing.assert_allclose(matrix_from_quaternion_xyzw(quaternion_xyzw_from_matrix(matrix)), matrix, atol=1e-11)


@pytest.mark.parametrize(
    ("axis", "expected"),
    [
        ((1, 0, 0), (1, 0, 0, 0)),
        ((-1, 0, 0), (1, 0, 0, 0)),
        ((0, -1, 0), (0, 1, 0, 0)),
        ((0, 0, -1), (0, 0, 1, 0)),
        ((0, -1, 1), (0, np.sqrt(0.5), -np.sqrt(0.5), 0)),
    ],
)
def test_a_half_turn_has_one_sign(axis: tuple[float, float, float], expected: tuple[float, ...]) -> None:
    np.testing.assert_allclose(quaternion_xyzw_from_matrix(rotation(axis, np.pi).as_matrix()), expected, atol=1e-12)


def test_the_identity_is_exact() -> None:
    assert quaternion_xyzw_from_matrix(np.eye(3)) == (0.0, 0.0, 0.0, 1.0)
    np.testing.assert_array_equal(matrix_from_quaternion_xyzw((0, 0, 0, 1)), np.eye(3))


def test_a_matrix_with_rounding_gives_the_nearest_rotation() -> None:
    exact = rotation((1, 2, 3), 0.7)
    got = quaternion_xyzw_from_matrix(np.round(exact.as_matrix(), 4))
    np.testing.assert_allclose(got, exact.as_quat(), atol=1e-4)
    assert np.linalg.norm(got) == pytest.approx(1.0, abs=1e-12)


@pytest.mark.parametrize("matrix", [np.eye(4), np.ones(3)])
def test_a_matrix_of_another_shape_is_refused(matrix: np.ndarray) -> None:
    with pytest.raises(ShapeError):
        quaternion_xyzw_from_matrix(matrix)


@pytest.mark.parametrize(
    "matrix", [np.zeros((3, 3)), np.diag([1, 1, -1]), 2 * np.eye(3), np.full((3, 3), np.nan), np.full((3, 3), np.inf)]
)
def test_what_is_no_rotation_is_refused(matrix: np.ndarray) -> None:
    with pytest.raises(InputError, match="orthogonal"):
        quaternion_xyzw_from_matrix(matrix)


@pytest.mark.parametrize("quaternion", [(0, 0, 0, 0), (0, 0, 0, 2), (np.nan, 0, 0, 1), (np.inf, 0, 0, 0)])
def test_a_quaternion_not_of_norm_one_is_refused(quaternion: tuple[float, ...]) -> None:
    with pytest.raises(InputError, match="norm"):
        matrix_from_quaternion_xyzw(quaternion)


def test_a_quaternion_of_another_length_is_refused() -> None:
    with pytest.raises(ShapeError):
        matrix_from_quaternion_xyzw(np.array([0.0, 0.0, 1.0]))
