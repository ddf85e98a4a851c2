# SPDX-License-Identifier: Apache-2.0
"""A detector that was trained on only on simulated images is refused on images that are not known to be simulated."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from types import SimpleNamespace

import pytest
import worker_models

from spatial_vlm_ros.errors import DomainMismatchError, InputError, ModelError
from spatial_vlm_ros.output.json_schema import resolution_from_json, resolution_json
from spatial_vlm_ros.parameters import DomainGateConfig, config_from
from spatial_vlm_ros.perception import load_grounder
from spatial_vlm_ros.perception.backends.composed import ComposedGrounder
from spatial_vlm_ros.perception.backends.sam2 import MaskedGrounder
from spatial_vlm_ros.perception.domain import check_domain, domain_of
from spatial_vlm_ros.perception.given_detections import GivenDetections
from spatial_vlm_ros.perception.grounder import Grounding
from spatial_vlm_ros.resolver import Resolver
from spatial_vlm_ros.sim.examples import chicks_and_cup_frame
from spatial_vlm_ros.sim.faults.grounder import FaultyGrounder
from spatial_vlm_ros.types import MODEL_DOMAINS, ImageDomain, NounPhrase, Rgb, Status

FRAME, DETECTIONS = chicks_and_cup_frame()
WORDS = "grab me the chick behind the cup"


class Trained(GivenDetections):
    """Finds the example's objects, and says what it was trained on."""

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


def test_a_backend_cannot_declare_another_word(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker_models.Obedient, "domain", "Simulated", raising=False)
    with pytest.raises(ModelError, match="declare one of unknown, simulated, photographs, any"):
        load_grounder("worker_models:Obedient")


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


def test_a_simulated_frame_is_answered_and_the_answer_names_the_domain() -> None:
    answer = Resolver(grounder=Trained("simulated")).resolve(FRAME, WORDS)
    assert FRAME.domain == "simulated"
    assert (answer.status, answer.target.id) == (Status.OK, "bonnet")
    assert resolution_json(answer)["model_domain"] == "simulated"
    assert resolution_from_json(resolution_json(answer)).model_domain == "simulated"


@pytest.mark.parametrize(
    ("gate", "images", "status"),
    [
        ({"images": "simulated"}, "unknown", Status.OK),  # the parameter says what the frame does not
        ({"images": "simulated"}, "real", Status.MODEL_ERROR),
        ({"images": "real"}, "simulated", Status.OK),
        ({"allow_mismatch": True}, "real", Status.OK),
    ],
)
def test_parameters_say_what_a_frame_does_not_and_may_allow_a_mismatch(
    gate: dict[str, object], images: ImageDomain, status: Status
) -> None:
    resolver = Resolver(config_from({"domain_gate": gate}), Trained("simulated"))
    assert resolver.resolve(replace(FRAME, domain=images), WORDS).status is status
    with pytest.raises(InputError, match="unknown or simulated or real"):
        replace(FRAME, domain="rendered")


def test_a_second_opinion_is_guarded_too() -> None:
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


def test_what_wraps_a_grounder_has_its_domain_and_others_none() -> None:
    inner, photographs = Trained("simulated"), Trained("photographs")
    assert domain_of(FaultyGrounder(inner)) == domain_of(MaskedGrounder(inner, None)) == "simulated"  # type: ignore[arg-type]
    for pair in ((inner, photographs), (photographs, inner)):  # one for simulated images keeps real ones out
        assert domain_of(ComposedGrounder(*pair)) == "simulated"  # type: ignore[arg-type]
    assert domain_of(GivenDetections(())) == domain_of(None) == domain_of(SimpleNamespace(domain=3)) == "unknown"
