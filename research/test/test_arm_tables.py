# SPDX-License-Identifier: Apache-2.0
"""Tables of other people's objects before the arms, on meshes made for the test; and of the sources, where they are."""

from __future__ import annotations

import dataclasses
import math
import os
from pathlib import Path

import numpy as np
import pytest

from research.arm_tables import layouts
from research.arm_tables.catalogue import CHECKOUTS, Catalogue, catalogue_of, places_of, surface_of_pieces
from research.arm_tables.feasible import fits, surface_of
from research.arm_tables.graspable import HandSize, graspable
from research.arm_tables.layouts import ANCHOR, TARGET, TWIN, OthersTable, distance, outline_at, random_table, stands
from research.arm_tables.picking import planning_for
from research.arm_tables.pieces import convex_pieces, floor_of
from research.arm_tables.sources import FILES, SOURCES, ObjectFile, squared
from research.rendered.items import Item, samples
from research.rendered.meshes import Mesh, box, joined, read_stl
from spatial_vlm_ros.errors import InputError
from spatial_vlm_ros.sim.arm.cell import ArmCell
from spatial_vlm_ros.sim.arm.machines import PANDA, UR5E
from spatial_vlm_ros.sim.meshes import revolve

pytestmark = pytest.mark.usefixtures("_mujoco")

HAND = HandSize(0.08, 0.047, 0.014, 0.022, (0.208, 0.064, 0.1))
NOTHING = np.zeros((0, 3))


def mug() -> Mesh:
    """A mug of 80 mm, 90 mm high, with walls of 4 mm, a floor of 6 mm and a handle."""
    wall = revolve([(0.0, 0.0), (0.04, 0.0), (0.04, 0.09), (0.036, 0.09), (0.036, 0.006), (0.0, 0.006)])
    handle = box((0.055, -0.006, 0.025), (0.063, 0.006, 0.07))
    arms = [box((0.038, -0.006, z), (0.058, 0.006, z + 0.01)) for z in (0.022, 0.063)]
    return joined([Mesh(wall.vertices, wall.faces.astype(np.int64)), handle, *arms])


def cuboid(x: float, y: float, z: float) -> Mesh:
    return box((-x / 2, -y / 2, 0), (x / 2, y / 2, z))


def kept() -> Catalogue:
    """A catalogue of meshes in place of files."""
    made = {
        "mug": (mug(), "turned"),
        "carton": (cuboid(0.05, 0.07, 0.08), "whole"),
        "bar": (cuboid(0.03, 0.16, 0.018), "strips"),
    }
    families = {"mug": "vessel", "carton": "box", "bar": "flat"}
    files = {name: ObjectFile("", name, families[name], 0.1, cut) for name, (_, cut) in made.items()}
    items = {name: Item(name, (name,), mesh.standing()) for name, (mesh, _) in made.items()}
    return Catalogue(files, {}, items)


@pytest.fixture(scope="module")
def settled(_mujoco: None) -> OthersTable:
    return random_table(7, kept())


def touches(pieces: list[np.ndarray], point: tuple[float, float, float]) -> bool:
    """Whether a point lies in the bounds of a piece."""
    return any(((corners.min(0) < point) & (point < corners.max(0))).all() for corners in pieces)


def test_a_mug_is_hollow_and_its_handle_a_loop() -> None:
    pieces = convex_pieces(mug().standing(), "turned")
    middle = -(0.063 - 0.04) / 2  # the handle shifts the middle of the bounds
    assert not touches(pieces, (middle, 0.0, 0.05))
    assert not touches(pieces, (middle + 0.02, 0.0, 0.05))
    assert touches(pieces, (middle, 0.0, 0.003))
    assert touches(pieces, (middle + 0.0385, 0.0, 0.05))
    assert not touches(pieces, (middle + 0.0475, 0.0, 0.045))
    assert touches(pieces, (middle + 0.059, 0.0, 0.045))


def test_the_floor_of_a_vessel_is_found() -> None:
    assert floor_of(samples(mug().standing())) == pytest.approx(0.006, abs=0.002)


def test_strips_leave_the_gap_between_two_blades() -> None:
    two = joined([box((-0.02, -0.1, 0), (-0.008, 0.1, 0.01)), box((0.008, -0.1, 0), (0.02, 0.1, 0.01))])
    pieces = convex_pieces(two, "strips")
    assert not touches(pieces, (0.0, 0.0, 0.005))
    assert touches(pieces, (0.014, 0.0, 0.005))


def test_an_unknown_cut_is_refused() -> None:
    with pytest.raises(ValueError, match="unknown cut"):
        convex_pieces(cuboid(0.1, 0.1, 0.1), "diced")


def test_an_object_is_turned_along_the_axes() -> None:
    c, s = math.cos(0.5), math.sin(0.5)
    turned = cuboid(0.04, 0.1, 0.03).moved(np.array([[c, -s, 0], [s, c, 0], [0, 0, 1.0]]))
    assert sorted(squared(turned).size) == pytest.approx([0.03, 0.04, 0.1])


def surface(mesh: Mesh, cut: str = "whole") -> np.ndarray:
    return surface_of_pieces(convex_pieces(mesh, cut), 5000)


def test_what_is_narrower_than_the_hand_can_be_taken_and_what_is_wider_not() -> None:
    assert graspable(surface(cuboid(0.06, 0.06, 0.06)), NOTHING, HAND)
    assert graspable(surface(cuboid(0.06, 0.2, 0.06)), NOTHING, HAND)
    assert not graspable(surface(cuboid(0.1, 0.1, 0.1)), NOTHING, HAND)
    assert not graspable(surface(cuboid(0.1, 0.1, 0.005)), NOTHING, HAND)


def test_a_wide_vessel_can_be_taken_by_its_wall() -> None:
    wide = revolve([(0.0, 0.0), (0.06, 0.0), (0.06, 0.09), (0.056, 0.09), (0.056, 0.006), (0.0, 0.006)])
    mesh = Mesh(wide.vertices, wide.faces.astype(np.int64))
    assert graspable(surface(mesh, "turned"), NOTHING, HAND)
    assert not graspable(surface(mesh, "whole"), NOTHING, HAND)


def test_neighbours_all_around_leave_no_room() -> None:
    target = surface(cuboid(0.05, 0.05, 0.05))
    walls = [box((-0.2, s * 0.032 - 0.003, 0), (0.2, s * 0.032 + 0.003, 0.2)) for s in (-1, 1)]
    walls += [box((s * 0.032 - 0.003, -0.2, 0), (s * 0.032 + 0.003, 0.2, 0.2)) for s in (-1, 1)]
    around = np.concatenate([surface_of_pieces([wall.vertices], 4000)[:, :3] for wall in walls])
    assert not graspable(target, around, HAND)


def test_distances_of_outlines() -> None:
    square = np.array([[0, 0], [1, 0], [1, 1], [0, 1.0]])
    assert distance(square, square + np.array([3, 0])) == pytest.approx(2.0)
    assert distance(square[::-1], square + np.array([0, 1.5])) == pytest.approx(0.5)
    assert distance(square, square + np.array([0.5, 0.5])) < 0


def test_a_table_stands_is_true_and_names_what_the_detector_looks_for(settled: OthersTable) -> None:
    catalogue, table = kept(), settled
    assert table.layout.target == TARGET
    assert catalogue.files[table.names[TARGET]].label in table.layout.instruction
    assert "tray" in table.named
    for id_ in table.unnamed:
        if id_ != ANCHOR:
            assert catalogue.files[table.names[id_]].label not in table.named
    assert bool(table.relation) == (ANCHOR in table.names)


def related(relation: str, twin: bool = False) -> OthersTable:
    """A table with that relation, found among seeds."""
    catalogue = kept()
    for seed in range(400):
        drawn = layouts._Draw(np.random.default_rng((seed, 0, 29)), catalogue, str(seed)).table()
        if drawn is not None and drawn.relation == relation and bool(drawn.twin) == twin and stands(drawn):
            return drawn
    raise AssertionError(relation)


def test_behind_is_farther_from_the_camera() -> None:
    table = related("behind")
    at = {obj.id: np.array(obj.position[:2]) for obj in table.layout.objects}
    eye = table.layout.base_T_camera.translation[:2]
    assert np.linalg.norm(at[TARGET] - eye) > np.linalg.norm(at[ANCHOR] - eye) + 0.03


def test_a_table_of_which_the_sentence_is_false_does_not_stand() -> None:
    table = related("left of", twin=True)
    places = {obj.id: obj for obj in table.layout.objects}
    one, other = places[TARGET], places[TWIN]
    swapped = tuple(
        dataclasses.replace(obj, position=other.position) if obj.id == TARGET
        else dataclasses.replace(obj, position=one.position) if obj.id == TWIN else obj
        for obj in table.layout.objects
    )  # fmt: skip
    assert not stands(dataclasses.replace(table, layout=dataclasses.replace(table.layout, objects=swapped)))


def test_a_seed_below_zero_is_refused() -> None:
    with pytest.raises(InputError, match="seed"):
        random_table(-1, kept())


def test_outlines_turn_with_their_object() -> None:
    model = kept().model("bar", "red")
    outline = outline_at(model, np.array([1.0, 0.0]), math.pi / 2)
    assert np.ptp(outline, axis=0) == pytest.approx([0.16, 0.03], abs=1e-6)
    assert outline.mean(0) == pytest.approx([1.0, 0.0], abs=1e-6)


def test_what_is_longer_than_the_tray_does_not_fit(settled: OthersTable) -> None:
    small, long = (np.c_[np.array([[0, 0], [x, 0], [x, 0.03], [0, 0.03]]), np.zeros(4)] for x in (0.1, 0.4))
    assert fits(small, settled)
    assert not fits(long, settled)


def test_each_arm_plans_with_its_own_hand() -> None:
    assert planning_for(PANDA).gripper.opening_max == pytest.approx(0.08)
    assert planning_for(UR5E).gripper.opening_max == pytest.approx(0.085)
    assert planning_for(UR5E).motion.tip_link == "gripper_tcp"


def test_places_of_sources() -> None:
    assert places_of(["ycb=/here"]) == {"ycb": "/here"}
    with pytest.raises(InputError, match="NAME=PLACE"):
        places_of(["ycb"])


def test_an_unknown_source_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="sources"), catalogue_of({"nowhere": "/x"}, tmp_path):
        pass


def test_a_cut_off_stl_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "half.stl"
    path.write_bytes(b"\0" * 80 + (2).to_bytes(4, "little") + b"\0" * 50)
    with pytest.raises(ValueError, match="binary STL"):
        read_stl(path)


def test_an_stl_file_is_read(tmp_path: Path) -> None:
    corners = np.array([[0, 0, 0], [1, 0, 0], [0, 1, 0]], "<f4")
    row = np.zeros(3, "<f4").tobytes() + corners.tobytes() + b"\0\0"
    path = tmp_path / "one.stl"
    path.write_bytes(b"\0" * 80 + (2).to_bytes(4, "little") + row * 2)
    mesh = read_stl(path)
    assert mesh.vertices.shape == (3, 3)
    assert mesh.faces.shape == (2, 3)


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory) -> Catalogue:
    folder = os.environ.get(CHECKOUTS, "")
    places = {name: str(Path(folder) / name) for name in SOURCES if folder and (Path(folder) / name).exists()}
    if len(places) < len(SOURCES):
        pytest.skip(f"{CHECKOUTS} names no folder with checkouts of {', '.join(SOURCES)}")
    with catalogue_of(places, tmp_path_factory.mktemp("sources")) as catalogue:
        return catalogue


@pytest.mark.parametrize("name", [name for files in FILES.values() for name in files])
def test_an_object_of_a_source_has_a_real_size_and_pieces(name: str, sources: Catalogue) -> None:
    size = sources.item(name).mesh.size
    assert 0.01 < size.min() < size.max() < 0.27
    pieces = np.concatenate(sources.pieces(name))
    assert pieces.min(0) == pytest.approx(sources.item(name).mesh.bounds[0], abs=2e-3)
    assert pieces.max(0) == pytest.approx(sources.item(name).mesh.bounds[1], abs=2e-3)


@pytest.mark.parametrize("name", ["mug", "bowl", "cup", "red cup", "porcelain cup"])
def test_a_vessel_of_a_source_is_hollow(name: str, sources: Catalogue) -> None:
    pieces, size = sources.pieces(name), sources.item(name).mesh.size
    assert not touches(pieces, (0.0, 0.0, 0.7 * float(size[2])))


@pytest.mark.slow
def test_tables_of_the_sources_stand(sources: Catalogue) -> None:
    for seed in range(3):
        assert random_table(seed, sources).layout.target == TARGET


def test_surfaces_have_unit_normals_outwards() -> None:
    points = surface_of_pieces([cuboid(0.1, 0.1, 0.1).vertices], 500)
    assert np.linalg.norm(points[:, 3:], axis=1) == pytest.approx(np.ones(500))
    away = points[:, :3] - [0, 0, 0.05]
    assert (np.einsum("ij,ij->i", away, points[:, 3:]) > 0.049).all()


def test_the_surface_moves_with_the_object(settled: OthersTable) -> None:
    catalogue, table = kept(), settled
    cell = ArmCell(table.layout)
    points = surface_of(table, cell, catalogue, TARGET)
    at = next(obj.position for obj in table.layout.objects if obj.id == TARGET)
    assert (points[:, :2].min(0) < at[:2]).all()
    assert (points[:, :2].max(0) > at[:2]).all()
    assert points[:, 2].min() == pytest.approx(0.0, abs=2e-3)
