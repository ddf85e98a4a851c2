# SPDX-License-Identifier: Apache-2.0
"""COLLADA files, the furniture made of boxes, and a recipe of the Gazebo scenes on objects made for the test."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from research.rendered import box_furniture as furniture
from research.rendered.collada import read_dae
from research.rendered.items import Item, PlacedItem, flat_top
from research.rendered.judge import Judge
from research.rendered.kits import Kit, Planner
from research.rendered.meshes import box, cylinder
from research.rendered.recipes_gazebo_rooms import drawers
from research.rendered.sentences import Case, SentenceMaker
from research.rendered.stage import Looks, Stage, View

pytestmark = pytest.mark.usefixtures("_mujoco")

LOOKS = Looks((0.6, 0.5, 0.4), (0.4, 0.4, 0.4), 0.7, 0.9)
SQUARE = """<?xml version="1.0"?>
<COLLADA xmlns="http://www.collada.org/2005/11/COLLADASchema" version="1.4.1">
 <asset><unit name="inch" meter="0.0254"/></asset>
 <library_geometries><geometry id="g"><mesh>
  <source id="p"><float_array id="pa" count="12">0 0 0 1 0 0 1 1 0 0 1 0</float_array><technique_common>
   <accessor source="#pa" count="4" stride="3"/></technique_common></source>
  <source id="t"><float_array id="ta" count="4">0 0.25 1 1</float_array><technique_common>
   <accessor source="#ta" count="2" stride="2"/></technique_common></source>
  <vertices id="v"><input semantic="POSITION" source="#p"/></vertices>
  <polylist count="1"><input semantic="VERTEX" source="#v" offset="0"/>
   <input semantic="TEXCOORD" source="#t" offset="1"/><vcount>4</vcount><p>0 0 1 1 2 1 3 0</p></polylist>
 </mesh></geometry></library_geometries>
 <library_nodes><node id="n"><translate>0 0 2</translate><instance_geometry url="#g"/></node></library_nodes>
 <library_visual_scenes><visual_scene id="s"><node><rotate>0 0 1 90</rotate><scale>10 10 10</scale>
  <instance_node url="#n"/></node></visual_scene></library_visual_scenes>
</COLLADA>"""


def test_collada_nodes_units_and_polygons_are_followed(tmp_path: Path) -> None:
    file = tmp_path / "square.dae"
    file.write_text(SQUARE)
    mesh = read_dae(file, tmp_path / "skin.png")
    assert mesh.faces.tolist() == [[0, 1, 2], [0, 2, 3]]
    assert mesh.vertices == pytest.approx(np.array([[0, 0, 2], [0, 1, 2], [-1, 1, 2], [-1, 0, 2]]) * 10 * 0.0254)
    assert mesh.uv == pytest.approx(np.array([[0, 0.75], [1, 0], [1, 0], [0, 0.75]])), "v runs down"
    assert read_dae(file).uv is None
    file.write_text(SQUARE.replace("<instance_node", "<other"))
    with pytest.raises(ValueError, match="shows no triangles"):
        read_dae(file)


@pytest.mark.parametrize(
    "item",
    [furniture.chest("middle"), furniture.quarters(), furniture.rack(), furniture.steps()],
    ids=lambda i: str(i.label),
)
def test_what_is_put_into_a_room_of_the_furniture_stays_there(item: Item) -> None:
    cube = Item("block", ("block",), box((-0.02, -0.02, 0), (0.02, 0.02, 0.04)), ("red",))
    objects = [PlacedItem("holder", item, (0.0, 0.1), colour="white", free=False)]
    objects += [PlacedItem(room, cube, (0.0, 0.0), colour="red", on=("holder", room)) for room in item.rooms]
    stage = Stage(objects, LOOKS)
    assert stage.settle() < 0.02
    view = View((0.0, 0.0, 0.1), 50, 1.3, 0, 52)
    judge = Judge(stage, view, stage.look(view))
    for room in item.rooms:
        assert judge.holds(room, "holder", room)
        assert not judge.empty("holder", room)
        assert not judge.on_table(room)


@pytest.mark.parametrize("filled", [True, False])
def test_a_closed_drawer_is_no_place_and_an_open_one_is(filled: bool) -> None:
    cube = box((-0.025, -0.025, 0), (0.025, 0.025, 0.05))
    items = {
        name: Item(name, (name,), mesh, ("red", "blue"), rooms={"main": flat_top(mesh, 0.5)})
        for name, mesh in (("cube", cube), ("can", cylinder(0.033, 0.1)), ("book", cylinder(0.1, 0.02)))
    }
    for name, same in (("tin", "cube"), ("gear", "cube"), ("small ball", "cube"), ("cup", "can"), ("pulley", "can"),
                       ("hatchback", "can"), ("mat", "book"), ("plate", "book")):  # fmt: skip
        items[name] = replace(items[same], label=name, said=(name,))
    kit = Kit(items, (), (), (), (), (), (), (), (), "", ())
    cases: list[Case] = []
    for seed in range(10):
        scene = drawers("top", filled)(Planner(kit, np.random.default_rng(seed)))
        stage = Stage(scene.objects, LOOKS)
        stage.settle()
        view = View((0.0, 0.0, 0.17), 36, 1.4, 0, 52)
        sentences = SentenceMaker(Judge(stage, view, stage.look(view)), np.random.default_rng(seed))
        scene.ask(sentences)
        low, high = stage.mesh("chest/top drawer").bounds
        for case in sentences.cases:
            if case.place is not None and "drawer" in case.place.anchor:
                assert case.place.anchor == "chest/top drawer"
                assert (low[:2] < case.place.middle[:2]).all()
                assert (case.place.middle[:2] < high[:2]).all()
        cases += sentences.cases
    closed = [c for c in cases if c.status == "NO_PLACE"]
    assert closed
    assert all("middle drawer" in c.instruction or "bottom drawer" in c.instruction for c in closed)
    inside = [c for c in cases if c.place is not None and c.place.relation == "inside"]
    assert bool(inside) is not filled
    assert {"AMBIGUOUS", "NOT_FOUND", "RELATION_UNSATISFIED"} < {c.status for c in cases}
