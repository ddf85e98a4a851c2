# SPDX-License-Identifier: Apache-2.0
"""How large objects of a name usually are.

The table is our own estimate of common household objects, to a centimetre or so: mean horizontal size and height of an
object as it usually stands or lies, in centimetres. A general word ("fruit") has the size of a medium one.
"""

from __future__ import annotations

_CENTIMETRES = """
    8 10 cup mug glass tumbler beaker
    8 15 wineglass goblet
    15 6 bowl basin
    20 2 plate dish saucer lid
    7 11 can tin
    7 23 bottle flask
    8 12 jar canister tub
    13 20 jug pitcher carafe kettle teapot
    12 18 box carton package packet cereal container
    25 2 tray book notebook magazine tablet laptop keyboard
    20 10 pan skillet pot saucepan wok basket toaster
    20 25 bucket bin bag backpack
    15 20 vase lamp plant flower robot
    8 8 fruit apple orange pear peach mango onion tomato potato pepper vegetable food
    12 4 banana cucumber carrot corn
    6 5 lemon lime plum kiwi apricot egg mushroom
    3 3 cherry grape strawberry nut berry
    14 12 pineapple melon cabbage lettuce broccoli cauliflower
    15 9 bread loaf cake
    8 3 cookie sandwich chocolate candy cheese
    10 2 fork knife spoon teaspoon spatula whisk tongs ladle cutlery utensil
    8 1 pen pencil marker brush toothbrush screwdriver
    12 3 scissors hammer wrench spanner pliers tool tape drill saw remote phone stapler torch flashlight wallet
    6 4 mouse watch key sponge soap eraser battery coin medicine pill
    6 6 block brick cube dice ball toy duck chick figurine
    12 12 bear teddy doll rabbit bunny shoe hat camera clock
    15 7 car truck towel cloth
    45 90 chair stool table
"""
_USUAL = {
    word: (float(width) / 100, float(height) / 100)
    for width, height, *words in (line.split() for line in _CENTIMETRES.split("\n") if line.strip())
    for word in words
}


def usual_size(name: str) -> tuple[float, float] | None:
    """Usual mean horizontal size and height of what has a name, metres; None if unknown. Its last word may suffice."""
    name = name.lower()
    return _USUAL.get(name) or _USUAL.get(name.rsplit(" ", 1)[-1])
