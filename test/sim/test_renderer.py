# SPDX-License-Identifier: Apache-2.0
"""Depth, owners and colours of pixels lie where projection puts them."""

import contextlib
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from spatial_vlm_ros.errors import InputError, ModelError
from spatial_vlm_ros.geometry.camera import normalised_grid, project
from spatial_vlm_ros.sim.meshes import CollisionPiece, Model, PaintedSurface, block
from spatial_vlm_ros.sim.physics import PlacedModel, SceneRenderer, compile_model, load_mujoco
from spatial_vlm_ros.sim.tabletop import HD, VGA, look_at, random_scenery
from spatial_vlm_ros.types import PinholeCamera

pytestmark = pytest.mark.usefixtures("_mujoco")

TABLE = 0.1  # height of the table's top
ODD = PinholeCamera(np.array([[500.0, 0, 201.3], [0, 470.0, 88.8], [0, 0, 1]]), 417, 263)  # nothing is in the middle
DOT = 0.004  # side of the cubes that mark points, metres
SPOTS = [(0.7, 0.2, 0.3), (0.9, -0.15, 0.25), (0.62, 0.0, 0.4), (1.05, 0.1, 0.15), (0.8, -0.02, 0.2)]
VIEW = look_at((0.1, -0.1, 0.7), (0.8, 0.03, 0.2), "base_link")

Make = Callable[[list[PlacedModel]], SceneRenderer]


def cube(id_: str, at: tuple[float, float, float], side: float) -> PlacedModel:
    part = PaintedSurface(block((side,) * 3), (200, 30, 30))
    solid = CollisionPiece("box", (side / 2,) * 3)
    return PlacedModel(id_, Model("cube", (), (part,), (solid,), 0.1, (0, 0, 0)), at)


@pytest.fixture
def renderer_of() -> Iterator[Make]:
    """Renderers of objects that hang in the air where they are put, for nothing is simulated."""
    with contextlib.ExitStack() as made:

        def make(objects: list[PlacedModel]) -> SceneRenderer:
            mj = load_mujoco()
            model = compile_model(objects, random_scenery(np.random.default_rng(0)))
            data = mj.MjData(model)
            mj.mj_forward(model, data)
            return made.enter_context(contextlib.closing(SceneRenderer(model, data)))

        yield make


@pytest.mark.parametrize("camera", [VGA, HD, ODD], ids=["vga", "hd", "odd"])
def test_depth_is_that_of_the_table_and_nothing_where_nothing_is(renderer_of: Make, camera: PinholeCamera) -> None:
    renderer = renderer_of([])
    seen = renderer.draw(camera, VIEW)
    up = renderer.draw(camera, look_at((0.8, 0.0, 2.0), (0.9, 0.0, 5.0), "base_link"))
    assert (up.geom < 0).any()
    np.testing.assert_array_equal(np.isnan(up.depth), up.geom < 0)
    again = renderer.draw(camera, VIEW)  # another view, or size, between them changes nothing
    np.testing.assert_array_equal(seen.rgb, again.rgb)
    np.testing.assert_array_equal(seen.depth, again.depth)
    rays = np.concatenate([normalised_grid(camera), np.ones((camera.height, camera.width, 1))], axis=2)
    expected = (TABLE - VIEW.translation[2]) / (rays @ VIEW.rotation.T)[..., 2]
    points = VIEW.apply(rays * expected[..., None])
    inside = (np.abs(points[..., :2] - (0.85, 0.0)) < (0.59, 0.74)).all(axis=-1)
    assert inside.mean() > 0.4
    np.testing.assert_allclose(seen.depth[inside], expected[inside], atol=2e-5)


@pytest.mark.parametrize("camera", [VGA, HD, ODD], ids=["vga", "hd", "odd"])
def test_marked_points_appear_where_projection_puts_them(renderer_of: Make, camera: PinholeCamera) -> None:
    renderer = renderer_of([cube(f"c{n}", spot, DOT) for n, spot in enumerate(SPOTS)])
    seen = renderer.draw(camera, VIEW)
    owners = [g for g in np.unique(seen.geom) if np.count_nonzero(seen.geom == g) < 400 and g >= 0]
    expected = project(camera, VIEW.inverse().apply(np.array(SPOTS)))
    inside = ((expected > 3) & (expected < (camera.width - 4, camera.height - 4))).all(axis=1)
    centres = np.array([np.argwhere(seen.geom == g)[:, ::-1].mean(axis=0) for g in owners])
    assert inside.sum() >= 4
    for pixel in expected[inside]:
        assert np.abs(centres - pixel).max(axis=1).min() < 0.6


def test_the_edge_of_a_plate_divides_pixels_at_their_centres(renderer_of: Make) -> None:
    # Seen from straight above: the top of a cube of 0.2 m, from 100.3 to 300.3 pixels of u, from 80.4 to 280.4 of v
    camera = PinholeCamera(np.array([[1000.0, 0, 200.3], [0, 1000.0, 180.4], [0, 0, 1]]), 420, 340)
    above = look_at((0.8, 0.0, 1.4), (0.8, 0.0, 0.0), "base_link")
    obj = cube("c", (0.8, 0.0, 0.3), 0.2)  # its top is 1 m below the camera
    seen = renderer_of([obj]).draw(camera, above)
    rows, columns = np.nonzero(seen.depth < 1.05)
    assert (columns.min(), columns.max(), rows.min(), rows.max()) == (101, 300, 81, 280)
    np.testing.assert_allclose(seen.depth[rows, columns], 1.0, atol=2e-5)


def test_colours_lie_on_the_same_pixels_as_depth(renderer_of: Make) -> None:
    seen = renderer_of([cube("c", (0.8, 0.0, 0.3), 0.2)]).draw(VGA, VIEW)
    expected = np.array([200, 30, 30]) / np.linalg.norm([200, 30, 30])
    norm = np.linalg.norm(seen.rgb, axis=2)
    red = (seen.rgb @ expected) / np.maximum(norm, 1) > 0.99
    ((u, v),) = np.rint(project(VGA, VIEW.inverse().apply(np.array([[0.8, 0.0, 0.3]])))).astype(int)
    cube_pixels = seen.geom == seen.geom[v, u]
    assert (red & cube_pixels).sum() / (red | cube_pixels).sum() > 0.97


def test_two_renderers_live_side_by_side_and_outlive_each_other(renderer_of: Make) -> None:
    one, other = renderer_of([]), renderer_of([cube("c", (0.8, 0.0, 0.3), 0.2)])
    before = one.draw(VGA, VIEW).rgb
    assert one.draw(HD, VIEW).rgb.shape == (720, 1280, 3)
    other.draw(VGA, VIEW)
    np.testing.assert_array_equal(one.draw(VGA, VIEW).rgb, before)
    other.close()
    np.testing.assert_array_equal(one.draw(VGA, VIEW).rgb, before)


def test_misuse_is_refused_by_name(renderer_of: Make) -> None:
    renderer = renderer_of([])
    bent = PinholeCamera(VGA.K, 640, 480, "plumb_bob", (-0.2, 0.05, 0.001, -0.001))
    with pytest.raises(InputError, match="rectified camera"):
        renderer.draw(bent, VIEW)
    with ThreadPoolExecutor(1) as other, pytest.raises(InputError, match="one thread"):
        other.submit(renderer.draw, VGA, VIEW).result()
    renderer.close()
    renderer.close()
    with pytest.raises(ModelError, match="closed"):
        renderer.draw(VGA, VIEW)
