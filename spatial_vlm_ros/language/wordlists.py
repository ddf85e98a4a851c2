# SPDX-License-Identifier: Apache-2.0
"""Lists of describing words, of nouns with special rules, and of words that are refused."""

from __future__ import annotations

from spatial_vlm_ros.language.patterns import word_set

# ------------------------------------------------------------------------------------------------ describing words

BASE_COLOURS = word_set("""
    red green blue yellow purple pink brown black white grey gray beige turquoise cyan magenta teal maroon
    crimson scarlet indigo tan khaki mauve fuchsia burgundy azure amber ochre aqua navy blond blonde violet
    orange gold silver
""")  # fmt: skip
SHADES = ("light", "dark", "bright", "pale", "deep", "neon", "pastel", "hot", "navy", "sky", "royal", "baby",
"forest",
          "lime", "olive", "mint", "electric", "dull", "vivid", "soft", "medium", "rose", "blood", "lemon", "jet",
          "snow", "off", "brick", "emerald", "midnight", "powder", "steel", "mustard")  # fmt: skip
COLOUR_VARIANTS = {"bluish": "blue", "blueish": "blue", "reddish": "red", "greenish": "green", "yellowish": "yellow",
                   "brownish": "brown", "greyish": "grey", "grayish": "gray", "whitish": "white", "blackish": "black",
                   "pinkish": "pink", "purplish": "purple", "orangish": "orange", "golden": "gold",
                   "silvery": "silver", "goldish": "gold"}  # fmt: skip
STATE_VARIANTS = {"opened": "open", "shut": "closed", "free": "empty", "vacant": "empty", "unoccupied": "empty"}
ATTRIBUTES = word_set("""
    big small large little tiny huge tall short long wide narrow thin thick fat slim flat giant miniature medium
    medium-sized mid-sized oversized enormous massive mini deep shallow broad compact wooden metallic ceramic
    transparent clear opaque translucent shiny glossy matte dull round square rectangular cylindrical circular
    oval triangular spherical cubic conical hexagonal pointed pointy curved bent straight folded rolled crumpled
    striped stripy dotted spotted checkered chequered plain patterned colourful colorful multicoloured
    multicolored plaid floral printed speckled marbled polka-dotted see-through semi-transparent empty full open
    closed dirty clean broken cracked wet dry new old heavy lightweight soft hard warm cold fresh sealed
    unopened used upright upside-down overturned tipped fallen half-full half-empty uncovered lidded inflated
    rusty fluffy fuzzy smooth rough furry hollow solid stuffed woven knitted porcelain stainless dark bright
    face-up face-down pale pretty nice fancy cute favourite favorite magnetic electric handheld disposable reusable
    rectangle-shaped star-shaped heart-shaped
""")  # fmt: skip
MATERIALS_AND_MORE = word_set("""
    tin glass plastic paper wood cardboard metal leather steel aluminium aluminum iron brass copper bronze
    rubber silicone fabric cloth cotton wool felt foam stone marble clay concrete china bamboo wicker chrome
    styrofoam rose peach lime olive plum cherry lemon mint salmon lavender cream mustard coral ivory charcoal
    chocolate silver gold orange violet amber square oval navy aqua tan
""")  # fmt: skip
"""Describing words before a noun, nouns elsewhere ("the orange mug", "the orange")."""
CUT = word_set("""
    apple banana orange pear lemon lime peach plum mango kiwi melon pineapple apricot nectarine tomato potato onion
    cucumber carrot pepper eggplant aubergine zucchini courgette avocado
""")
"""Foods of which a piece is not the whole: "a slice of apple" is not an apple, though a piece of paper is paper."""
PORTIONS = word_set("piece pieces bit slice")
NOUN_COLOURS = word_set("""
    rose peach lime olive plum cherry lemon mint salmon lavender cream mustard coral ivory charcoal chocolate
    cotton wool stone clay cloth
""")  # fmt: skip
"""Those of `MATERIALS_AND_MORE` that are part of an object's name ("mustard bottle", "cherry jar")."""

COMPOUNDS = (
    "orange juice", "orange soda", "olive oil", "paper towel|towels|clip|clips|plane|bag|cup|plate|roll", "tin opener",
    "tin foil", "glass cleaner", "green tea", "black tea", "red|white wine", "black pepper", "brown sugar",
    "red bull", "hot sauce|dog|chocolate|glue", "gold fish", "ice cream", "sour cream", "cream cheese", "rubber duck",
    "rubber band|bands", "light bulb|switch", "dry erase marker|markers", "plastic wrap", "white board", "black board",
    "soft drink|toy", "hard disk|drive|hat", "flat screwdriver|iron", "metal detector", "square ruler", "master chef",
    "rubik's cube", "rubiks cube", "silver fish", "iron board", "open sign", "clear tape", "stainless steel",
    "solid state drive", "dry ice", "short bread", "cold brew", "wet wipe|wipes", "long grain rice", "straight edge",
    "stop sign|watch", "can opener", "big mac", "mini fridge", "clean wipes", "new york", "deep fryer", "broad beans",
    "full cream", "empty space", "round table", "water colour|color", "orange peel",
    "bus stop|stops", "door stop|stops", "front|back door|doors|garden|seat|seats|yard|porch", "front desk",
)  # fmt: skip
"""Compounds whose first word would otherwise be read as a describing word."""

# ------------------------------------------------------------------------------------------------ no place here

OUTSIDE = word_set("""
    stop help wait cancel abort quit undo after till halt freeze
    sorry oops correction nay
    as if because although though while when why how who whom whose he she they his her hers him their theirs its
    we i was were be been am had will would shall should may might must ought did does unless until since
    whether or no none nothing nobody never nowhere else also even
    ever already still yet during despite per via versus however therefore thus hence sat ate eat eats went goes
    going gone said says say think thinks thought know knows knew want wants wanted like likes liked sleep
    sleeps slept run runs ran jump jumps jumped speak tell tells told ask asks asked make makes made seem seems
    seemed become becomes became feel feels felt keep keeps try tries tried use uses love loves hate hates don't
    dont doesn't doesnt didn't didnt won't wont wouldn't wouldnt couldn't couldnt can't cant cannot shouldn't
    it's theyre i'm i've i'll you're you've we're they're he's she's im ive yesterday tomorrow today tonight maybe
    perhaps everyone someone anyone everybody somebody much more most less least
""")  # fmt: skip
"""English words outside this grammar; never read as nouns."""

FOREIGN = word_set("""
    die
    der das dem den ein eine einen einem einer und ist nicht auf unter hinter neben vor links rechts von mit
    bitte gib mir nimm hol stell zeig ich du auch le la les une des dans sur sous derriere devant gauche
    droite prends donne moi avec et est qui vers el los las una unos del sobre detras delante izquierda derecha
    dame toma coge por favor con que il lo gli della dietro davanti sinistra destra prendi dammi piacere sopra
    sotto os uma atras frente esquerda direita pegue de het een achter voor naast pak geef van
""")  # fmt: skip
"""Function words of other languages; refused if no English determiner comes before them."""

LOANWORDS = word_set("""
    cafe jalapeno puree saute creme brulee pate pinata creche entree decor facade resume souffle acai gruyere
    kahlua nestle haagen-dazs frappe rose latte naive crepe crepes purees jalapenos flambe cafes consomme doner
    muesli smores senor loreal l'oreal lancome
""")  # fmt: skip
"""Words with accents that are read as English after the accents are dropped."""

# ------------------------------------------------------------------------------------------------ nouns

NOUNS_TOO = word_set("""
    robot well middle center centre
""")
"""Words of other tables that may name objects."""

CONTAINERS = word_set("""
    box bin drawer bowl bag basket bucket cabinet cupboard crate jar tin pot pan sink fridge refrigerator oven
    container case backpack cart dishwasher microwave cup mug pocket toolbox chest hamper trash
""")  # fmt: skip
"""Objects that other objects can be taken out of."""

SURFACES = word_set("""
    table desk tray shelf counter board plate mat bench sofa couch bed rug floor stove hob worktop workbench
    tabletop countertop desktop placemat platform pallet sideboard dresser windowsill sill tablecloth carpet
    workspace rack stand cabinet cupboard drawer
""")  # fmt: skip
"""Objects whose left side is a part of them: "on the left side of the tray"."""

FURNITURE = SURFACES - word_set("tray board plate mat placemat drawer cabinet cupboard")
"""Objects so large that "on the left of" them means a part of them: "on the left of the table"."""

PARTS = word_set("""
    lid handle drawer shelf compartment door cap knob leg arm seat back backrest rim edge corner base bottom top
    blade plug cord hood lens screen keyboard pedal strap zip zipper buckle hook nozzle trigger needle pocket sleeve
    sole lace bulb shade head foot neck hose cork stopper bristle tooth jaw tine dial switch clasp flap page spine pin
    burner hotplate division partition side spout button section slot tier level half end tip lip stem wheel cover hinge
""")  # fmt: skip
"""Objects that are parts of others: "the jar's lid", "lid of jar"."""

FEATURES = PARTS - word_set("keyboard screen needle pin bulb hose switch cork page half side end") | word_set("""
    logo sticker label crack dent scratch stain stripe dot pattern writing ear eye nose tail wing face
""")
"""Parts and marks that an object may be described by: "the jar with the blue lid"."""

HESITATIONS = word_set("""
    um uh er erm ehm hm hmm uhm umm uhh ah eh mm
""")
"""Sounds that are not words; dropped everywhere."""

REPEATABLE = word_set("""
    that left right
""")
"""Words that may occur twice in a row: "the mug on the left left of the box"."""
