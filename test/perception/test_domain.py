# SPDX-License-Identifier: Apache-2.0
"""A detector that was trained on simulated images only is refused on images that are not known to be simulated."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import worker_models

from spatial_vlm_ros.errors import DomainMismatchError, InputError, ModelError, UnfamiliarImageError
from spatial_vlm_ros.output.json_schema import resolution_from_json, resolution_json
from spatial_vlm_ros.parameters import DomainGateConfig, ResolverConfig, config_from
from spatial_vlm_ros.perception import load_grounder
from spatial_vlm_ros.perception.backends.composed import ComposedGrounder
from spatial_vlm_ros.perception.backends.sam2 import MaskedGrounder
from spatial_vlm_ros.perception.domain import check_domain, domain_of
from spatial_vlm_ros.perception.given_detections import GivenDetections
from spatial_vlm_ros.perception.grounder import Grounding
from spatial_vlm_ros.perception.worker import WorkerGrounder
from spatial_vlm_ros.resolver import Resolver
from spatial_vlm_ros.sim.examples import chicks_and_cup_frame
from spatial_vlm_ros.sim.faults.grounder import FaultyGrounder
from spatial_vlm_ros.types import MODEL_DOMAINS, ImageDomain, NounPhrase, Rgb, Status

FRAME, DETECTIONS = chicks_and_cup_frame()
WORDS = "grab me the chick behind the cup"
IMAGE = np.zeros((48, 64, 3), np.uint8)
CUP = NounPhrase("cup")


class Trained(GivenDetections):
    """Finds the example's objects, and says what it was trained on."""

    def __init__(self, domain: str) -> None:
        super().__init__(DETECTIONS)
        self.domain, self.asked = domain, 0

    def ground(self, rgb: Rgb, phrases: Sequence[NounPhrase]) -> Grounding:
        self.asked += 1
        return super().ground(rgb, phrases)


def of_kind(domain: ImageDomain) -> Resolver:
    return Resolver(config_from({"domain_gate": {"images": domain}}), Trained("simulated"))


@pytest.fixture
def importable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parent), prepend=os.pathsep)


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


def test_a_grounder_that_declares_nothing_is_of_unknown_domain() -> None:
    assert domain_of(GivenDetections(())) == domain_of(None) == domain_of(SimpleNamespace(domain=3)) == "unknown"


def test_a_backend_cannot_declare_another_word(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker_models.Obedient, "domain", "Simulated", raising=False)
    with pytest.raises(ModelError, match="declare one of unknown, simulated, photographs, any"):
        load_grounder("worker_models:Obedient")


@pytest.mark.parametrize("images", ["unknown", "real"])
def test_the_resolver_refuses_before_it_asks_the_model(images: ImageDomain) -> None:
    grounder = Trained("simulated")
    answer = Resolver(ResolverConfig(), grounder).resolve(replace(FRAME, domain=images), WORDS)
    assert answer.status is Status.MODEL_ERROR
    assert answer.target is None
    assert grounder.asked == 0
    assert answer.model_domain == "simulated"
    for remedy in ("Choose another model", "domain_gate.images", "domain_gate.allow_mismatch", "--any-domain"):
        assert remedy in answer.message


def test_a_simulated_frame_is_answered_and_the_answer_names_the_domain() -> None:
    answer = Resolver(ResolverConfig(), Trained("simulated")).resolve(FRAME, WORDS)
    assert FRAME.domain == "simulated"
    assert (answer.status, answer.target and answer.target.id) == (Status.OK, "bonnet")
    assert resolution_json(answer)["model_domain"] == "simulated"
    assert resolution_from_json(resolution_json(answer)).model_domain == "simulated"


def test_the_parameter_says_what_the_frame_does_not() -> None:
    unmarked, real = replace(FRAME, domain="unknown"), replace(FRAME, domain="real")
    assert of_kind("simulated").resolve(unmarked, WORDS).status is Status.OK
    assert of_kind("simulated").resolve(real, WORDS).status is Status.MODEL_ERROR
    assert of_kind("real").resolve(FRAME, WORDS).status is Status.OK


def test_a_mismatch_may_be_allowed() -> None:
    config = config_from({"domain_gate": {"allow_mismatch": True}})
    assert Resolver(config, Trained("simulated")).resolve(replace(FRAME, domain="real"), WORDS).status is Status.OK


def test_given_detections_have_no_model_and_no_gate() -> None:
    answer = Resolver(ResolverConfig(), Trained("simulated")).resolve(replace(FRAME, domain="real"), WORDS, DETECTIONS)
    assert (answer.status, answer.model_domain) == (Status.OK, None)


def test_a_second_opinion_is_guarded_too() -> None:
    asked: list[str] = []

    class Refers(Trained):
        def refer(self, _: Rgb, words: str) -> tuple[()]:
            asked.append(words)
            return ()

    resolver = Resolver(config_from({"second_opinion": {"ask": True}}), Refers("simulated"))
    answer = resolver.resolve(replace(FRAME, domain="real"), WORDS, DETECTIONS)
    assert (answer.status, asked) == (Status.MODEL_ERROR, [])
    assert resolver.resolve(FRAME, WORDS, DETECTIONS).status is Status.OK
    assert len(asked) == 1


def test_no_other_word_is_a_domain_of_a_frame() -> None:
    with pytest.raises(InputError, match="unknown or simulated or real"):
        replace(FRAME, domain="rendered")


def test_what_wraps_a_grounder_has_its_domain() -> None:
    inner = Trained("simulated")
    assert domain_of(FaultyGrounder(inner)) == domain_of(MaskedGrounder(inner, None)) == "simulated"  # type: ignore[arg-type]


@pytest.mark.parametrize("trained", [("simulated", "photographs"), ("photographs", "simulated")])
def test_of_two_composed_models_one_for_simulated_images_alone_keeps_real_ones_out(trained: tuple[str, str]) -> None:
    first, second = (Trained(domain) for domain in trained)  # type: ignore[arg-type]
    assert domain_of(ComposedGrounder(first, second)) == "simulated"  # type: ignore[arg-type]


# ------------------------------------------------------------------------------------------------ worker process


@pytest.mark.usefixtures("importable")
def test_the_domain_comes_from_the_process_and_stays_when_it_ends() -> None:
    grounder = WorkerGrounder("worker_models:Simulated", timeout_s=20.0)
    assert grounder.domain == "unknown"
    with grounder:
        assert domain_of(grounder) == "simulated"
    assert domain_of(grounder) == "simulated"
    with WorkerGrounder("worker_models:Obedient", timeout_s=20.0) as other:
        assert domain_of(other) == "unknown"


@pytest.mark.usefixtures("importable")
def test_a_worker_that_is_loaded_by_the_request_is_refused_all_the_same() -> None:
    grounder = WorkerGrounder("worker_models:Simulated", timeout_s=20.0)
    try:
        answer = Resolver(ResolverConfig(), grounder).resolve(replace(FRAME, domain="real"), WORDS)
        assert answer.status is Status.MODEL_ERROR
        assert "worker_models:Simulated" in answer.message
        assert "simulated images only" in answer.message
    finally:
        grounder.close()


@pytest.mark.usefixtures("importable")
def test_an_unfamiliar_image_crosses_the_process_with_its_numbers_and_costs_no_process() -> None:
    with WorkerGrounder("worker_models:Simulated", timeout_s=20.0) as grounder:
        first = grounder.pid
        for _ in range(4):
            with pytest.raises(UnfamiliarImageError, match="unfamiliar=answer") as caught:
                grounder.ground(IMAGE, [CUP])
            assert (caught.value.model, caught.value.distance, caught.value.limit) == ("simulated", 3.25, 1.5)
        assert grounder.pid == first
