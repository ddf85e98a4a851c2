# SPDX-License-Identifier: Apache-2.0
"""Quaternions and matrices, beside SciPy's."""

from __future__ import annotations

from collections.abc import Callable

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
def test_quaternions_and_matrices_are_scipys(axis: tuple[float, float, float], angle: float) -> None:
    turn = rotation(axis, angle)
    expected = turn.as_quat()
    np.testing.assert_allclose(matrix_from_quaternion_xyzw(expected), turn.as_matrix(), atol=1e-12)
    assume(abs(expected[3]) > 1e-6)
    got = quaternion_xyzw_from_matrix(turn.as_matrix())
    np.testing.assert_allclose(got, expected * np.sign(expected[3]), atol=1e-7)
    assert got[3] >= 0


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


def test_the_identity_is_exact_and_a_matrix_with_rounding_gives_the_nearest_rotation() -> None:
    assert quaternion_xyzw_from_matrix(np.eye(3)) == (0.0, 0.0, 0.0, 1.0)
    np.testing.assert_array_equal(matrix_from_quaternion_xyzw((0, 0, 0, 1)), np.eye(3))
    exact = rotation((1, 2, 3), 0.7)
    got = quaternion_xyzw_from_matrix(np.round(exact.as_matrix(), 4))
    np.testing.assert_allclose(got, exact.as_quat(), atol=1e-4)
    assert np.linalg.norm(got) == pytest.approx(1.0, abs=1e-12)


@pytest.mark.parametrize(
    ("call", "given", "error", "words"),
    [
        *((quaternion_xyzw_from_matrix, matrix, ShapeError, None) for matrix in (np.eye(4), np.ones(3))),
        *(
            (quaternion_xyzw_from_matrix, matrix, InputError, "orthogonal")
            for matrix in (np.zeros((3, 3)), np.diag([1, 1, -1]), 2 * np.eye(3), np.full((3, 3), np.nan))
        ),
        (quaternion_xyzw_from_matrix, np.full((3, 3), np.inf), InputError, "orthogonal"),
        *(
            (matrix_from_quaternion_xyzw, quaternion, InputError, "norm")
            for quaternion in ((0, 0, 0, 0), (0, 0, 0, 2), (np.nan, 0, 0, 1), (np.inf, 0, 0, 0))
        ),
        (matrix_from_quaternion_xyzw, np.array([0.0, 0.0, 1.0]), ShapeError, None),
    ],
)
def test_what_is_no_rotation_is_refused(
    call: Callable[..., object], given: object, error: type[Exception], words: str | None
) -> None:
    with pytest.raises(error, match=words):
        call(given)
