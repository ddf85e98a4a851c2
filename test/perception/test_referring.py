# SPDX-License-Identifier: Apache-2.0
"""Which object an answer names, masks for it, who finds and who is asked, images that a model was not trained for."""

from collections.abc import Sequence
from dataclasses import replace
from types import SimpleNamespace
from typing import Any
from unittest.mock import Mock

import numpy as np
import pytest
import worker_models
from tables import tables
from worker_models import Masking

from spatial_vlm_ros import errors
from spatial_vlm_ros.errors import CancelledError, DomainMismatchError, InputError, ModelError, UnknownNameError
from spatial_vlm_ros.output.json_schema import resolution_from_json, resolution_json
from spatial_vlm_ros.parameters import DomainGateConfig, config_from
from spatial_vlm_ros.perception import load_grounder, parse_options
from spatial_vlm_ros.perception.backends.composed import ComposedGrounder
from spatial_vlm_ros.perception.backends.sam2 import MaskedGrounder
from spatial_vlm_ros.perception.coordinates import NamedObject
from spatial_vlm_ros.perception.domain import check_domain, domain_of
from spatial_vlm_ros.perception.grounder import Grounder, Grounding
from spatial_vlm_ros.perception.imported_detections import GivenDetections
from spatial_vlm_ros.perception.referring import MOST_FOUND, PointsByDepth, masked_by, named, referrer_of, with_mask
from spatial_vlm_ros.resolver import Resolver
from spatial_vlm_ros.sim.examples import chicks_and_cup_frame
from spatial_vlm_ros.sim.faults.grounder import FaultyGrounder
from spatial_vlm_ros.types import MODEL_DOMAINS, Detection, ImageDomain, Mask, NounPhrase, Rgb, Status

TABLES = tables(__file__)
Box = tuple[float, float, float, float]
ASK = {"second_opinion": {"ask": True}}


def obj(id_: str, box: Box, masked: bool = False) -> Detection:
    mask = None
    if masked:  # the lower right half of its box
        mask = np.zeros((48, 64), bool)
        x0, y0, x1, y1 = (int(v) for v in box)
        rows, columns = np.mgrid[y0:y1, x0:x1]
        mask[y0:y1, x0:x1] = (rows - y0) / (y1 - y0) + (columns - x0) / (x1 - x0) >= 1
    return Detection(id_, "can", 1.0, box, mask)


def boxed(*boxes: Box) -> tuple[NamedObject, ...]:
    return tuple(NamedObject("can", box, None, None) for box in boxes)


def pointed(*points: tuple[float, float]) -> tuple[NamedObject, ...]:
    return tuple(NamedObject("", None, point, None) for point in points)


def row_of(found: Sequence[NamedObject], *objects: Detection, overlap: float = 0.5) -> int | None:
    return named(found, objects, overlap, "model")


LEFT, RIGHT = obj("l", (0, 10, 20, 30)), obj("r", (22, 10, 42, 30))
HALF, OUTER = obj("l", (0, 10, 20, 30), masked=True), obj("out", (0, 10, 20, 30))
OBJECTS: dict[str, tuple[Detection, ...]] = {
    "apart": (LEFT, RIGHT),
    "half": (HALF, RIGHT),
    "over": (HALF, obj("over", (10, 20, 30, 40))),
    "near": (obj("in", (0, 10, 20, 29)), OUTER),
    "inside": (obj("in", (5, 15, 15, 25)), OUTER),
    "pin": (Detection("p", "pin", 1.0, (7, 5, 8, 6), np.pad(np.ones((1, 1), bool), ((5, 42), (7, 56)))),),
    "none": (),
}


@pytest.mark.parametrize(("found", "objects", "overlap", "row"), TABLES["named"])
def test_all_that_was_found_must_name_one_object_by_overlap_or_by_its_mask(
    found: list[list[Any]], objects: str, overlap: float, row: int | None
) -> None:
    """Half a pixel off the middle of a pin's one pixel is still that pixel."""
    told = []
    for kind, place, *point in found:
        box, at = (None, place) if kind == "point" else (tuple(place), *map(tuple, point or [None or ()]))
        told.append(NamedObject("can", box, tuple(at) or None, None))
    assert row_of(told, *OBJECTS[objects], overlap=overlap) == row


@pytest.mark.parametrize(
    "found",
    [
        None, "the left one", [(0, 0, 5, 5)], (NamedObject("", None, None, None),), boxed((0, 0, float("nan"), 5)),
        pointed((float("inf"), 0.0)), boxed((0, 0, 5, 5)) * (MOST_FOUND + 1),
    ],
)  # fmt: skip
def test_what_is_no_answer_is_the_models_error(found: Sequence[NamedObject]) -> None:
    with pytest.raises(ModelError, match="model 'model'"):
        row_of(found, LEFT, RIGHT)


def test_a_grounder_that_cannot_refer_refuses_only_where_it_is_asked_to() -> None:
    frame, detections = chicks_and_cup_frame()
    for grounder in (None, GivenDetections(detections)):
        answer = Resolver(config_from(ASK), grounder).resolve(frame, "the chick behind the cup", detections)
        assert answer.status is Status.INVALID_INPUT
        assert "second_opinion.ask" in answer.message
        with pytest.raises(InputError, match=r"second_opinion\.ask"):
            referrer_of(grounder)
        plain = Resolver(None, grounder).resolve(frame, "the chick behind the cup", detections)
        assert plain.status is Status.OK


@pytest.mark.parametrize(("kind", "status", "words"), TABLES["failing"])
def test_a_model_that_fails_costs_the_request(kind: str, status: str, words: str) -> None:
    frame, detections = chicks_and_cup_frame()
    led_to = {
        "model": ModelError("weights", "no memory left", "buy some"),
        "timeout": errors.ModelTimeoutError("weights", "too slow", "buy a faster one"),
        "value": ValueError("no idea"),
        "strange": ["the chick"],
    }
    failing: Any = worker_models.Mute()
    failing.refer = Mock(side_effect=[led_to[kind]])
    answer = Resolver(config_from(ASK), failing).resolve(frame, "the chick behind the cup", detections)
    assert answer.status.name == status
    assert words in answer.message
    assert answer.target is None


BLACK = np.zeros((48, 64, 3), np.uint8)
BOX = Detection("b", "thing", 1.0, (10.0, 10.0, 30.0, 30.0))
POINT = Detection("p", "thing", 1.0, (19.0, 19.0, 21.0, 21.0), pointed=True)
FRAME, DETECTIONS = chicks_and_cup_frame()
CUP = next(d for d in DETECTIONS if d.id == "cup")
FREE_FORM = config_from({"language": {"free_form": "ask_model"}})
FREE = "grab me the thing I drink my coffee from"


def block(x0: int, y0: int, x1: int, y1: int) -> Mask:
    mask = np.zeros((48, 64), np.bool_)
    mask[y0:y1, x0:x1] = True
    return mask


def test_a_mask_that_fits_becomes_the_objects() -> None:
    made = with_mask(Masking(block(11, 11, 30, 30)), BLACK, BOX, 0.5)
    assert made.mask is not None
    assert made.box_xyxy == (11, 11, 30, 30)
    made = with_mask(Masking(block(15, 15, 40, 40)), BLACK, POINT, 0.5)
    assert (made.box_xyxy, made.pointed) == ((15, 15, 40, 40), False)


@pytest.mark.parametrize(("cut", "pointed"), TABLES["unfit"])
def test_a_mask_that_does_not_fit_leaves_the_object_to_depth(cut: list[int], pointed: bool) -> None:
    detection = POINT if pointed else BOX
    assert with_mask(Masking(block(*cut)), BLACK, detection, 0.5) is detection
    for model in (object(), Masking(None)):
        assert with_mask(model, BLACK, BOX, 0.5) is BOX


@pytest.mark.parametrize(
    ("mask", "words"),
    [
        (np.zeros((48, 64), np.bool_), "without pixels"),
        (block(10, 10, 30, 30).tolist(), "of type list"),
        (block(10, 10, 30, 30).astype(np.uint8), "of type uint8"),
        (np.full((48, 64), np.nan), "of type float64"),
        (block(10, 10, 30, 30)[:40], "64x40 pixels for an image of 64x48"),
        (block(10, 10, 30, 30).T.copy(), "48x64 pixels"),
        (np.ones((48, 64, 3), np.bool_), "64x48x3 pixels"),
        (np.ones(3, np.bool_), "3 pixels"),
        (ModelError("masks", "no memory left", "buy some"), "no memory left"),
        (ValueError("no idea"), "no idea"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_mask_that_is_none_is_the_models_failure_and_a_withdrawal_stays_one(mask: Any, words: str) -> None:
    model: Any = Masking(mask)
    if isinstance(mask, (list, np.ndarray)):
        made = type("Made", (), {"mask": mask})()  # no Detection takes it
        model = type("Model", (), {"masked": lambda *_: (made,)})()
    for detection in (BOX, POINT):
        with pytest.raises(ModelError, match=words):
            with_mask(model, BLACK, detection, 0.5)
    with pytest.raises(CancelledError):
        with_mask(Masking(CancelledError("withdrawn")), BLACK, BOX, 0.5)


class Segments:
    def masks(self, _: Rgb, boxes: Sequence[tuple[float, ...]]) -> tuple[Mask | None, ...]:
        return tuple(block(*(int(v) for v in box)) for box in boxes)  # type: ignore[call-arg]

    def point_masks(self, _: Rgb, points: Sequence[tuple[float, float]]) -> tuple[Mask | None, ...]:
        return tuple(block(int(x) - 5, int(y) - 5, int(x) + 5, int(y) + 5) for x, y in points)


def test_boxes_and_points_are_put_to_the_model_of_masks_and_masks_stay() -> None:
    known = replace(BOX, id="k", mask=block(12, 12, 20, 20))
    box, kept, point = masked_by(Segments(), BLACK, (BOX, known, POINT))
    np.testing.assert_array_equal(box.mask, block(10, 10, 30, 30))
    assert kept is known
    np.testing.assert_array_equal(point.mask, block(15, 15, 25, 25))
    assert masked_by(None, BLACK, (BOX,)) == masked_by(PointsByDepth(), BLACK, (BOX,)) == (BOX,)
    mute, cutting = worker_models.Mute(), worker_models.cutting()
    for one in (MaskedGrounder(mute, Segments()), ComposedGrounder(mute, cutting)):  # type: ignore[arg-type]
        assert with_mask(one, BLACK, BOX, 0.5).mask is not None
    assert with_mask(ComposedGrounder(mute, worker_models.pointing()), BLACK, BOX, 0.5) is BOX


def test_what_a_model_points_at_is_measured_by_its_mask_and_a_failure_costs_one_request() -> None:
    known = Resolver().resolve(FRAME, "grab the cup", [CUP]).target
    x0, y0, x1, y1 = CUP.box_xyxy
    for (place,) in (pointed(((x0 + x1) / 2, (y0 + y1) / 2)), boxed(CUP.box_xyxy)):
        answer = Resolver(FREE_FORM, Masking(CUP.mask, place, DETECTIONS)).resolve(FRAME, FREE)
        assert answer.source == "model"
        assert (answer.target.pose, answer.target.size) == (known.pose, known.size)
    refused = Resolver(FREE_FORM, worker_models.cutting("fails")).resolve(FRAME, FREE)
    assert refused.status is Status.NOT_UNDERSTOOD
    assert "no memory left" in refused.message


RGB = np.zeros((10, 20, 3), np.uint8)
MUG = Detection("m", "mug", 0.9, (1.0, 2.0, 5.0, 6.0))


class Finding(GivenDetections):
    domain = "photographs"

    def answer(self, *_: object) -> str:
        return "yes"


def finding(size: str = "") -> Grounder:
    assert size in ("", "small")
    return Finding([MUG])


MODELS = "worker_models"


def composed(options: str) -> Grounder:
    return load_grounder("composed", parse_options(options))


def test_one_finds_and_another_is_asked_for_the_whole_phrase() -> None:
    made: Any = composed(f"grounder={__name__}:finding options=size=small second_opinion={MODELS}:Echoing")
    assert made.ground(RGB, [NounPhrase("mug")]).detections == (MUG,)
    box, point = referrer_of(made).refer(RGB, "the mug")
    assert (box.label, point.point_xy) == ("the mug", (0.0, 7.0))
    assert (made.domain, made.answer()) == ("photographs", "yes")
    assert isinstance(composed(f"grounder={__name__}:finding"), Finding)  # what is left out is left to the grounder
    assert referrer_of(composed(f"grounder={MODELS}:Echoing")).refer(RGB, "nothing") == ()
    with pytest.raises(InputError, match="cannot ground a whole phrase"):
        referrer_of(composed(f"grounder={__name__}:finding"))


@pytest.mark.parametrize(("options", "error", "words"), TABLES["choices"])
def test_choices_that_do_not_fit_are_refused(options: str, error: str, words: str) -> None:
    with pytest.raises(getattr(errors, error), match=words):
        composed(f"grounder={__name__}:finding {options}")
    with pytest.raises(UnknownNameError, match="nobody"):
        composed("grounder=nobody")


WORDS = "grab me the chick behind the cup"


class Trained(GivenDetections):
    def __init__(self, domain: str) -> None:
        super().__init__(DETECTIONS)
        self.domain, self.asked = domain, 0

    def ground(self, rgb: Rgb, phrases: Sequence[NounPhrase]) -> Grounding:
        self.asked += 1
        return super().ground(rgb, phrases)


@pytest.mark.parametrize("trained", MODEL_DOMAINS)
@pytest.mark.parametrize("says", ["unknown", "simulated", "real"])
@pytest.mark.parametrize("configured", ["unknown", "simulated", "real"])
def test_only_a_simulated_model_on_other_images_is_refused(trained: str, says: ImageDomain, configured: str) -> None:
    grounder, config = SimpleNamespace(domain=trained), DomainGateConfig(images=configured)
    known = configured if says == "unknown" else says  # what a frame says of itself counts more
    if trained == "simulated" and known != "simulated":
        with pytest.raises(DomainMismatchError) as caught:
            check_domain(grounder, config, says)
        assert (caught.value.model_domain, caught.value.image_domain) == ("simulated", known)
    else:
        check_domain(grounder, config, says)
    check_domain(grounder, replace(config, allow_mismatch=True), says)


@pytest.mark.parametrize("images", ["unknown", "real"])
def test_the_resolver_refuses_before_it_asks_the_model(images: ImageDomain) -> None:
    grounder = Trained("simulated")
    answer = Resolver(grounder=grounder).resolve(replace(FRAME, domain=images), WORDS)
    assert (answer.status, answer.target, answer.model_domain) == (Status.MODEL_ERROR, None, "simulated")
    assert grounder.asked == 0
    for remedy in ("Choose another model", "domain_gate.images", "domain_gate.allow_mismatch", "--any-domain"):
        assert remedy in answer.message
    given = Resolver(grounder=grounder).resolve(replace(FRAME, domain=images), WORDS, DETECTIONS)
    assert (given.status, given.model_domain) == (Status.OK, None)  # no model found these


def test_a_simulated_frame_is_answered_and_a_backend_declares_known_words(monkeypatch: pytest.MonkeyPatch) -> None:
    answer = Resolver(grounder=Trained("simulated")).resolve(FRAME, WORDS)
    assert FRAME.domain == "simulated"
    assert (answer.status, answer.target.id) == (Status.OK, "bonnet")
    assert resolution_json(answer)["model_domain"] == "simulated"
    assert resolution_from_json(resolution_json(answer)).model_domain == "simulated"
    monkeypatch.setattr(worker_models.Obedient, "domain", "Simulated", raising=False)
    with pytest.raises(ModelError, match="declare one of unknown, simulated, photographs, any"):
        load_grounder("worker_models:Obedient")


def test_a_second_opinion_is_guarded_and_what_wraps_a_grounder_has_its_domain() -> None:
    class Refers(Trained):
        def refer(self, _: Rgb, words: str) -> tuple[()]:  # noqa: ARG002
            self.asked += 1
            return ()

    grounder = Refers("simulated")
    resolver = Resolver(config_from({"second_opinion": {"ask": True}}), grounder)
    answer = resolver.resolve(replace(FRAME, domain="real"), WORDS, DETECTIONS)
    assert (answer.status, grounder.asked) == (Status.MODEL_ERROR, 0)
    assert resolver.resolve(FRAME, WORDS, DETECTIONS).status is Status.OK
    assert grounder.asked == 1
    inner, photographs = Trained("simulated"), Trained("photographs")
    assert domain_of(FaultyGrounder(inner)) == domain_of(MaskedGrounder(inner, None)) == "simulated"  # type: ignore[arg-type]
    for pair in ((inner, photographs), (photographs, inner)):  # one for simulated images keeps real ones out
        assert domain_of(ComposedGrounder(*pair)) == "simulated"  # type: ignore[arg-type]
    assert domain_of(GivenDetections(())) == domain_of(None) == domain_of(SimpleNamespace(domain=3)) == "unknown"
