# SPDX-License-Identifier: Apache-2.0
"""Nouns of parts that few detectors name (compartment, burner, corner), and of the wholes that have such parts."""

from __future__ import annotations

from spatial_vlm_ros.language.patterns import word_set
from spatial_vlm_ros.language.wordlists import CONTAINERS, SURFACES

CENTRES = word_set("centre center middle")
CORNERS = word_set("corner")
EDGES = word_set("edge border")
SHARES = word_set("half side part area third portion region zone end quarter quadrant")
COMPARTMENTS = word_set("compartment section slot division partition cubby cubbyhole pigeonhole bay divider cell")
BURNERS = word_set("burner hotplate")
LEVELS = word_set("shelf level tier layer deck rack step stair tread")
DRAWERS = word_set("drawer")
DOORS = word_set("door")

ALONG_BOTH = CORNERS | SHARES | COMPARTMENTS | BURNERS | LEVELS | DRAWERS | DOORS
"""Parts that two directions may pick out together ("the front left compartment")."""
NEVER_LABELLED = CENTRES | CORNERS | EDGES | COMPARTMENTS | BURNERS | word_set("half")
"""Parts whose describing nouns name the whole: "the table centre" is the centre of the table."""

STOVES = word_set("stove hob cooktop cooker range oven stovetop")
DIVIDED = word_set("organiser organizer caddy tidy holder tray box crate bin basket case rack divider container bento")
CHESTS = word_set("cabinet chest dresser cupboard nightstand desk bureau sideboard commode drawers unit tallboy drawer")
CLOSING = CHESTS - word_set("desk unit drawer") | word_set("""
    wardrobe closet locker microwave oven fridge refrigerator freezer dishwasher safe
""")
"""Furniture with doors or drawers: its right side is not on its top, unless the words say "on"."""
LIDDED = word_set("box case carton bin crate container toolbox")
"""Objects that may have a lid; an object put into a part of them does not lie on the lid."""
SHELVED = word_set("""
    shelf shelves rack bookcase bookshelf cabinet cupboard stand shelving unit trolley cart etagere wardrobe locker
    hutch closet larder pantry fridge refrigerator freezer sideboard credenza bookstand
""")
STEPPED = word_set("stairs staircase stairway steps stepladder ladder podium riser bleacher stool")
"""Objects with steps: levels with nothing over them."""
OPEN_CONTAINERS = DIVIDED | word_set("bowl bucket basket drawer cabinet cupboard bag sink pan pot")
"""Objects that are described by their contents ("the bin with the banana"); a mug with a spoon may be one to stir."""
TRAYS = word_set("tray platter")
WHOLES = STOVES | DIVIDED | CHESTS | SHELVED | STEPPED | SURFACES | CONTAINERS


def is_tray(label: str) -> bool:
    """True if objects stand both on and in what a label names, because its rim is low and it has no lid."""
    return label.lower().split(" ")[-1] in TRAYS


def counted_down(category: str) -> bool:
    """True if such parts are counted from the top when no side is said ("the second drawer")."""
    return category.split()[-1] in DRAWERS
