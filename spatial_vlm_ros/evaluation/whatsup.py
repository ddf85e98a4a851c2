# SPDX-License-Identifier: Apache-2.0
"""What'sUp, the controlled sets A and B: a photograph of two objects and four captions, of which the first is true.

Knows the published layout and the published scores; knows nothing of models. The images are colour alone: without
depth the geometric resolver cannot answer them, so this reader serves models that choose among captions.

    controlled_images_dataset.json   set A: [{"image_path", "caption_options" (4, the first is true)}, …]
    controlled_images/               images, "thing_left_of_anchor.jpeg": left_of, right_of, on, under
    controlled_clevr_dataset.json    set B, with controlled_clevr/: left_of, right_of, in-front_of, behind

Source: Kamath, Hessel and Chang (2023), What's "up" with vision-language models? (data and code under MIT).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from types import MappingProxyType
from typing import Literal

import msgspec

from spatial_vlm_ros.errors import FileError, InputError
from spatial_vlm_ros.files.reading import read_bytes
from spatial_vlm_ros.types.proportions import Share, wilson

Subset = Literal["A", "B"]

_FILES: Mapping[str, tuple[str, str]] = MappingProxyType(
    {
        "A": ("controlled_images_dataset.json", "controlled_images"),
        "B": ("controlled_clevr_dataset.json", "controlled_clevr"),
    }
)
_RELATIONS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {"A": ("left_of", "right_of", "on", "under"), "B": ("left_of", "right_of", "in-front_of", "behind")}
)
_LARGEST_LISTING = 1 << 26  # bytes
_REPAIR = "download the controlled sets as the authors' repository whatsup_vlms describes"


@dataclass(frozen=True)
class CaptionItem:
    """One image with its captions.

    Args:
        image: the picture's file.
        captions: four; the first is true. Shuffle them before a model sees them in order.
        object: first noun of the file's name.
        relation: "left_of", "right_of", "on", "under", "in-front_of" or "behind".
        anchor: second noun of the file's name.
    """

    image: Path
    captions: tuple[str, str, str, str]
    obj: str
    relation: str
    anchor: str


@dataclass(frozen=True)
class CaptionScore:
    """Scores as published, each with its interval.

    Args:
        accuracy: the true caption was chosen.
        pairs: both of two opposites of the same objects were (left and right; on and under, or in front and behind).
        sets: all four relations of the same objects were.
        by_relation: `accuracy` by relation.

    The authors divide pairs by half, and sets by a quarter, of the number of images; 411 and 407 images are not
    whole sets. Here n counts the pairs and sets that are complete, so that 100 % can be reached.
    """

    accuracy: Share
    pairs: Share
    sets: Share
    by_relation: Mapping[str, Share]


class _WhatsUpEntry(msgspec.Struct):
    image_path: str
    caption_options: tuple[str, str, str, str]


def read_whatsup(folder: str | Path, subset: Subset) -> tuple[CaptionItem, ...]:
    """The items of one controlled set, in the order of its file.

    Args:
        folder: holds the JSON file and the folder of images.
        subset: "A" or "B".

    Raises:
        FileError: the data is not there, or not of the published form; names the entry.
    """
    listing, images = (Path(folder) / name for name in _FILES[subset])
    try:
        entries = msgspec.json.decode(read_bytes(listing, _REPAIR, _LARGEST_LISTING), type=list[_WhatsUpEntry])
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise FileError(listing, str(error), _REPAIR) from error
    return tuple(_item(listing, n, entry, images, subset) for n, entry in enumerate(entries))


def _item(listing: Path, n: int, entry: _WhatsUpEntry, images: Path, subset: Subset) -> CaptionItem:
    name = PurePosixPath(entry.image_path).name  # the folder before it is that of the authors' machine
    image = images / name
    for relation in _RELATIONS[subset]:
        obj, between, anchor = PurePosixPath(name).stem.partition(f"_{relation}_")
        if between and obj and anchor:
            break
    else:
        known = ", ".join(_RELATIONS[subset])
        raise FileError(listing, f"{name!r} names none of {known}", f"see that this is set {subset}", f"$[{n}]")
    if len(set(entry.caption_options)) != len(entry.caption_options):
        raise FileError(listing, f"two captions of {name!r} are the same", _REPAIR, f"$[{n}].caption_options")
    if not image.is_file():
        raise FileError(image, "there is no such picture", _REPAIR)
    return CaptionItem(image, entry.caption_options, obj, relation, anchor)


def score_whatsup(items: Sequence[CaptionItem], chosen: Sequence[int | None]) -> CaptionScore:
    """Score the captions that were chosen.

    Args:
        items: of one set.
        chosen: for each item the index of the chosen caption in `captions`; None = no answer, which is wrong.

    Raises:
        InputError: not one choice for each item, or no such caption.
    """
    if len(items) != len(chosen) or any(c is not None and not 0 <= c < 4 for c in chosen):
        raise InputError("chosen captions", f"{len(chosen)} for {len(items)} items", "0 to 3 or None for each item",
                         "give the index of the chosen caption")  # fmt: skip
    right = [c == 0 for c in chosen]
    relations: dict[str, list[bool]] = defaultdict(list)
    groups: dict[tuple[str, str], dict[str, bool]] = defaultdict(dict)
    for item, good in zip(items, right, strict=True):
        relations[item.relation].append(good)
        groups[item.obj, item.anchor][item.relation] = good
    pairs = [
        group[one] and group[other]
        for group in groups.values()
        for one, other in (("left_of", "right_of"), ("on", "under"), ("in-front_of", "behind"))
        if one in group and other in group
    ]
    sets = [all(group.values()) for group in groups.values() if len(group) == 4]
    return CaptionScore(
        accuracy=wilson(sum(right), len(right)),
        pairs=wilson(sum(pairs), len(pairs)),
        sets=wilson(sum(sets), len(sets)),
        by_relation={name: wilson(sum(goods), len(goods)) for name, goods in sorted(relations.items())},
    )
