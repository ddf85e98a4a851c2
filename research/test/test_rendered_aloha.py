# SPDX-License-Identifier: Apache-2.0
"""Turned shapes, the furniture and the sentences of the ALOHA scenes, and a recipe on objects made for the test."""

from pathlib import Path

import numpy as np
import pytest

from research.rendered import desk_furniture as furniture
from research.rendered.aloha_models import block
from research.rendered.aloha_speech import PEOPLE, Talk
from research.rendered.items import Item, PlacedItem, flat_top
from research.rendered.judge import Judge
from research.rendered.kits import Kit, Planner
from research.rendered.meshes import box, cylinder
from research.rendered.recipes_aloha_rooms import stand
from research.rendered.sentences import SentenceMaker
from research.rendered.stage import Looks, Stage, View

pytestmark = pytest.mark.usefixtures("_mujoco")

LOOKS = Looks((0.6, 0.5, 0.4), (0.4, 0.4, 0.4), 0.7, 0.9)
CUBE = Item("block", ("block",), box((-0.02, -0.02, 0), (0.02, 0.02, 0.04)), ("red",))


def _judge(objects: list[PlacedItem]) -> Judge:
    stage = Stage(objects, LOOKS)
    assert stage.settle() < 0.02
    view = View((0.0, 0.0, 0.1), 42, 1.3, 0, 52)
    return Judge(stage, view, stage.look(view))


def test_a_turned_profile_is_closed_and_faces_outwards() -> None:
    mesh = furniture.turned(((0, 0), (0.04, 0), (0.04, 0.1), (0, 0.1)), sides=200)
    a, b, c = (mesh.vertices[mesh.faces[:, i]] for i in range(3))
    assert (np.einsum("ij,ij->i", a, np.cross(b, c)) / 6).sum() == pytest.approx(np.pi * 0.04**2 * 0.1, rel=1e-3)


def test_a_block_shows_its_letter_upright_to_the_viewer(tmp_path: Path) -> None:
    mesh = block(0.05, tmp_path / "letter.png")
    assert mesh.uv is not None
    assert mesh.size == pytest.approx([0.05, 0.05, 0.05])
    front = np.isclose(mesh.vertices[:, 1], -0.025) & (np.arange(len(mesh.vertices)) < 4)
    for point, uv in zip(mesh.vertices[front], mesh.uv[front], strict=True):
        assert (point[0] > 0) == (uv[0] == 1), "the image runs to the viewer's right"
        assert (point[2] > 0.025) == (uv[1] == 0), "v runs down"


@pytest.mark.parametrize(
    "item",
    [furniture.dresser("left"), furniture.cubbies(), furniture.cutlery_tray(), furniture.board(), furniture.riser()],
    ids=lambda i: str(i.label),
)
def test_what_is_put_into_a_room_of_the_furniture_stays_there(item: Item) -> None:
    rooms = [r for r in item.rooms if item.label != "cutting board" or r != "main"]
    objects = [PlacedItem("holder", item, (0.0, 0.1), colour="white", free=False)]
    objects += [PlacedItem(room, CUBE, (0.0, 0.0), colour="red", on=("holder", room)) for room in rooms]
    judge = _judge(objects)
    talk = Talk(SentenceMaker(judge, np.random.default_rng(0)))
    for room in rooms:
        assert talk.beneath(room, "holder") if room == "under" else judge.holds(room, "holder", room)
        assert not judge.empty("holder", room)


def test_sides_want_a_clear_offset_and_the_others_on_the_opposite_side() -> None:
    spots = {"anchor": (0.0, 0.1), "west": (-0.2, 0.1), "east": (0.2, 0.1), "front": (0.0, -0.15)}
    talk = Talk(SentenceMaker(_judge([PlacedItem(n, CUBE, s, colour="red") for n, s in spots.items()]),
                              np.random.default_rng(0)))  # fmt: skip
    assert talk.side("left of", "west", "anchor", ["east"])
    assert not talk.side("left of", "west", "anchor", ["front"]), "an object in front is not clearly to the right"
    assert not talk.side("left of", "front", "anchor")
    assert talk.never("behind", ["front"], "anchor")
    assert not talk.never("behind", ["front", "west"], "anchor")


def test_where_an_object_is_and_where_it_goes_are_told_apart() -> None:
    objects = [PlacedItem(n, CUBE, (x, 0.0), colour="red") for n, x in (("a", -0.2), ("b", 0.2))]
    said = SentenceMaker(_judge(objects), np.random.default_rng(3))
    talk = Talk(said)
    for _ in range(60):
        talk.put("a", "the block on the tray", "on", "the mat", said.judge.around("b"))
        talk.deny("the block to the left of the mat", "NOT_FOUND")
        talk.deny("the block on the mat", "NOT_FOUND")
    sentences = [c.instruction for c in said.cases]
    assert len(sentences) > len(PEOPLE)
    for s in sentences:
        doubtful = "tray" in s or "to the left" in s or s.startswith("The block")
        assert ("block that's" in s) == doubtful


def test_an_empty_stand_has_room_under_it_and_a_used_one_an_object() -> None:
    cube = box((-0.03, -0.03, 0), (0.03, 0.03, 0.06))
    items = {n: Item(n, (n,), cube, ("red", "blue"), rooms={"main": flat_top(cube, 0.5)})
             for n in ("mug", "sponge", "block A", "can opener", "flower pot", "block B", "USB stick")}  # fmt: skip
    items |= {n: Item(n, (n,), cylinder(0.04, 0.03), ("red",)) for n in ("bowl", "marker", "shears", "bottle")}
    items["riser"] = furniture.riser()
    kit = Kit(items, (), (), (), (), (), (), (), (), "", ())
    for below in (True, False):
        cases = []
        for seed in range(6):
            scene = stand(below)(Planner(kit, np.random.default_rng(seed)))
            stage = Stage(scene.objects, LOOKS)
            stage.settle()
            view = View((0.0, 0.0, 0.07), 26, 1.3, 0, 52)
            sentences = SentenceMaker(Judge(stage, view, stage.look(view)), np.random.default_rng(seed))
            scene.ask(sentences)
            cases += sentences.cases
        under = [c for c in cases if "5 under" in c.kinds]
        assert bool(under) is not below
        assert all(c.place is not None and c.place.relation == "under" and c.place.middle[2] == 0 for c in under)
        held = [c for c in cases if "3 under" in c.kinds]
        assert bool(held) is below
        assert all(c.target == "held" for c in held)
        assert "AMBIGUOUS" in {c.status for c in cases}
