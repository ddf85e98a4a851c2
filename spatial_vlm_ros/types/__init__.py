# SPDX-License-Identifier: Apache-2.0
"""Data types of the whole package, as frozen dataclasses and enums.

Objects are described here and computed elsewhere. One file per theme; import everything from here. docs/conventions.md
states the conventions (units, axes, frames, pixels, invalid values) once: metres, radians, optical frames with z
forward, depth along optical z with NaN for "not measured".
"""

from __future__ import annotations

from spatial_vlm_ros.types.arrays import Depth, Floats, Mask, Points, Rgb
from spatial_vlm_ros.types.domain import IMAGE_DOMAINS, MODEL_DOMAINS, ImageDomain, ModelDomain
from spatial_vlm_ros.types.observation import (
    DISTORTION_LENGTHS,
    Detection,
    PinholeCamera,
    RgbdFrame,
    RobotPixels,
    Transform,
)
from spatial_vlm_ros.types.query import (
    Destination,
    Distance,
    NounPhrase,
    Ordinal,
    RelationClause,
    SpaceQuestion,
    SpatialQuery,
    Step,
)
from spatial_vlm_ros.types.relation import Relation
from spatial_vlm_ros.types.relation_comparison import (
    ComparedBy,
    ComparedObject,
    ComparedRelation,
    ComparedRow,
    RelationComparison,
    RelationOpinion,
)
from spatial_vlm_ros.types.resolution import (
    CHOSEN_BY_MODEL,
    AnswerObject,
    AnswerSource,
    AvoidedObject,
    Candidate,
    ClauseMeasurement,
    FoundPart,
    GraspHint,
    HiddenRegion,
    JudgedRelation,
    JudgeEffect,
    JudgeReport,
    MeasuredLength,
    OfferedAnswer,
    Place,
    Pose,
    Quaternion,
    Resolution,
    SecondOpinion,
    SpaceAnswer,
    TakenFor,
    Target,
    Vector3,
)
from spatial_vlm_ros.types.scene import OrientedBox, Plane, Scene, SceneObject
from spatial_vlm_ros.types.shape import ObjectShape, ShapeKind
from spatial_vlm_ros.types.status import ANSWERS, ClauseState, FrameOfReference, Status, UpSource

__all__ = [
    "ANSWERS",
    "CHOSEN_BY_MODEL",
    "DISTORTION_LENGTHS",
    "IMAGE_DOMAINS",
    "MODEL_DOMAINS",
    "AnswerObject",
    "AnswerSource",
    "AvoidedObject",
    "Candidate",
    "ClauseMeasurement",
    "ClauseState",
    "ComparedBy",
    "ComparedObject",
    "ComparedRelation",
    "ComparedRow",
    "Depth",
    "Destination",
    "Detection",
    "Distance",
    "Floats",
    "FoundPart",
    "FrameOfReference",
    "GraspHint",
    "HiddenRegion",
    "ImageDomain",
    "JudgeEffect",
    "JudgeReport",
    "JudgedRelation",
    "Mask",
    "MeasuredLength",
    "ModelDomain",
    "NounPhrase",
    "ObjectShape",
    "OfferedAnswer",
    "Ordinal",
    "OrientedBox",
    "PinholeCamera",
    "Place",
    "Plane",
    "Points",
    "Pose",
    "Quaternion",
    "Relation",
    "RelationClause",
    "RelationComparison",
    "RelationOpinion",
    "Resolution",
    "Rgb",
    "RgbdFrame",
    "RobotPixels",
    "Scene",
    "SceneObject",
    "SecondOpinion",
    "ShapeKind",
    "SpaceAnswer",
    "SpaceQuestion",
    "SpatialQuery",
    "Status",
    "Step",
    "TakenFor",
    "Target",
    "Transform",
    "UpSource",
    "Vector3",
]
