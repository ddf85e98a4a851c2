# SPDX-License-Identifier: Apache-2.0
"""Words in no table: which of them may be the noun of an object, by lists and by their endings.

Nouns are an open class, so an unknown word is read as a noun, but only in a noun's position and only if it is not
clearly an adverb, a participle, a verb or a comparison.
"""

from __future__ import annotations

from functools import lru_cache

from spatial_vlm_ros.language.acts import OTHER_VERBS
from spatial_vlm_ros.language.patterns import word_set

ADVERBS = word_set("""
    twice thrice once often always sometimes seldom rarely soon later earlier sooner ago lately forever forth
    forward forwards backward backwards sideways sidewards upward upwards downward downwards inward inwards outward
    outwards onward onwards leftwards rightwards homeward afterward afterwards beforehand clockwise anticlockwise
    counterclockwise lengthwise crosswise edgewise endwise likewise otherwise somehow anyhow anyway anyways somewhat
    apart aside ahead abreast adrift afar aloft alone aloud along anew askew awry astray awhile together altogether
    indeed perchance instead meanwhile moreover furthermore nonetheless nevertheless besides almost nigh nowadays
    everywhere elsewhere anywhere upstairs downstairs indoors outdoors overnight halfway midway partway vertically
    horizontally again sort kinda sorta dunno gotta hafta throughout underway upfront upright tiptoe face-down
    face-up upside-down head-on crossways longways hither thither yonder whence wherever however whenever therein
    thereof thereby whereas whereby nearby overhead underfoot
""") - word_set("upright upside-down face-up face-down sort nearby overhead")
"""Adverbs; those in other tables have priority."""

FUNCTION_WORDS = word_set("""
    whose whichsoever whoever whomever whatsoever himself herself ourselves yourselves oneself unto amidst
    notwithstanding regarding concerning considering lest albeit provided providing supposing should've would've
    could've it'll that'll there'll he'll she'll we'll they'll you'll i'd you'd he'd she'd we'd they'd we've they've
    who'd who'll hadn't hasn't haven't wasn't weren't mustn't mightn't needn't ain't aint hasnt havent wasnt werent
    isn isnt same former latter aforementioned abovementioned previous preceding following upcoming next respective
    belong belongs lives stays remain remains
    such zero nought nil none zilch non dozens hundreds thousands millions billions scores loads lots plenty tons heaps
    oodles umpteen infinity infinite dozen has have having had let lets could where enough much percent pct unlimited
""")
"""Words that hold sentences together, refer to earlier words, or count without a number."""

NEVER_HEADS = word_set("""
    high low hope wish wonder need want avoid hold drop keep deep wide
""")
"""Words that describe or act, and are not a noun after another one ("the cup high")."""

_ENDINGS_OF_ADVERBS = ("wards", "wise")
_LY_NOUNS = word_set("""
    fly jelly belly lily bully doily ally family assembly supply reply anomaly monopoly butterfly dolly holly
    dragonfly ply folly gully italy july molly kelly polly firefly housefly mayfly potbelly underbelly trolly lolly
    brolly wooly woolly homily melancholy rally sally tally telly welly nelly willy billy tilly emily beverly filly
    hillbilly gadfly horsefly multiply sully dally
""")
_LY_ADJECTIVES = word_set("""
    friendly ugly lovely curly silly smelly woolly oily wobbly bubbly chilly hilly holy early daily weekly monthly
    yearly elderly lonely lively deadly costly ghostly jolly likely crumbly prickly wrinkly squiggly pearly steely
    cuddly giggly wiggly wriggly gnarly burly frilly comely homely only orderly scaly shapely sickly stately steely
    surly timely ungainly unruly unsightly unlikely womanly manly worldly heavenly earthly bristly grisly knobbly
    jiggly crinkly sparkly tinkly twinkly stubbly nobbly girly roly-poly eco-friendly family-friendly child-friendly
""")
_ING_NOUNS = word_set("""
    ring string thing king wing earring spring sling swing bring ceiling building painting clothing pudding railing
    icing dressing stuffing seasoning topping filling frosting coating lining padding tubing piping wiring bedding
    flooring roofing fencing lightning evening morning drawing dumpling duckling sibling sapling seedling starling
    herring viking wedding meeting recording carving casting forging fitting bearing housing mooring awning landing
    paneling panelling molding moulding shelving decking siding plating marking markings heading writing packaging
    wrapping keyring o-ring crossing parking bowling knitting sewing swing ping legging stocking plaything
    handwriting offspring hamstring shoestring drawstring mainspring bowstring heartstring sting cling fling zing
    bling chitterling pickling darling gosling fledgling underling yearling grating scaffolding edging piping
    trimming kindling engraving etching washing ironing laundering ring-pull cutting clipping shaving earthling
    pudding
""")
_ED_NOUNS = word_set("""
    bed seed weed reed shed sled bobsled breed feed speed steed deed need greed creed thoroughbred flatbed seabed
    daybed red sunbed waterbed hotbed led bled ted ned fred airbed bunkbed oilseed flaxseed linseed rapeseed aniseed
    poppyseed birdseed toolshed moped biped quadruped infrared hundred kindred shred watershed purebred sofabed
    seaweed tweed woodshed milkweed med wed zed unleaded newlywed
""")
_EST_NOUNS = word_set("""
    chest nest vest west test rest guest forest harvest crest pest quest request contest interest arrest priest
    tempest zest conquest inquest protest jest fest breast everest digest armrest headrest footrest backrest
    northwest southwest budapest toolchest earnest honest modest ingest manifest palimpsest houseguest midwest
    suggest best request invest attest
""")
COMPARATIVES = word_set("""
    deeper heavier lighter darker brighter newer older fuller warmer colder hotter dirtier cleaner emptier rounder
    shinier straighter softer harder smoother rougher prettier uglier nicer cheaper fresher wetter drier flatter
    sharper stronger weaker quieter louder redder greener bluer whiter blacker paler plainer cuter better worse
    sturdier fancier curvier squarer pointier dustier rustier juicier riper younger
""")
"""Comparatives that are not measured; before a noun they pick one of two ("the heavier box")."""


TIMES = word_set("""
    seconds minute minutes hour hours day days week weeks month months year years noon midnight while moment moments
    oclock o'clock weekend
""")
"""Nouns of time, which are not objects."""
OTHER_UNITS = word_set("""
    pixel pixels px degree degrees deg radian radians mile miles parsec parsecs lightyear lightyears kelvin
""")
"""Units other than of length."""


@lru_cache(maxsize=4096)
def is_outside(text: str, modifier: bool) -> bool:
    """True if an unknown word clearly is not a part of an object's name.

    Args:
        text: the word, lower case.
        modifier: True if a noun follows it: then participles and some adverbs describe that noun.
    """
    if text in TIMES | OTHER_UNITS and not modifier:
        return True
    if text in ADVERBS or text in FUNCTION_WORDS or text in OTHER_VERBS:
        return True
    if text.endswith("ly"):
        return text not in _LY_NOUNS and not (modifier and text in _LY_ADJECTIVES)
    if text.endswith(_ENDINGS_OF_ADVERBS):
        return True
    if text.endswith("est") and len(text) > 4:
        return text not in _EST_NOUNS
    if text in COMPARATIVES:
        return modifier or text != "lighter"
    return False


@lru_cache(maxsize=4096)
def is_plain(text: str) -> bool:
    """True if an unknown word may be a noun in every noun position.

    Args:
        text: the word, lower case.
    """
    return not (
        is_outside(text, modifier=False)
        or is_outside(text, modifier=True)
        or is_participle(text)
        or text.startswith("non-")
        or text.endswith("m")  # units
    )


@lru_cache(maxsize=4096)
def is_participle(text: str) -> bool:
    """True if a word after a noun is a participle or the like, not a noun ("the chick hiding", "the cup owned by")."""
    if text in NEVER_HEADS:
        return True
    if text.endswith("ing") and len(text) > 4:
        return text not in _ING_NOUNS
    return text.endswith("ed") and len(text) > 3 and text not in _ED_NOUNS
