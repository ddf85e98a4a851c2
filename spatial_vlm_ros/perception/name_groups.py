# SPDX-License-Identifier: Apache-2.0
"""Further names of objects: words and names of several words for the same object, and kinds.

The lists cover kitchens, offices, workshops, living rooms and toy boxes. Objects that lie side by side under different
names (fork and spoon, nut and bolt, comb and hairbrush) never share a group.
"""

from __future__ import annotations

SYNONYMS = (
    # toys and shapes
    "gear cogwheel cog", "cog sprocket", "disc disk", "disc frisbee", "ring hoop", "rod stick pole", "plank board",
    "puzzle jigsaw", "truck lorry", "plane airplane aeroplane aircraft", "boat ship", "train locomotive",
    "motorcycle motorbike", "helicopter chopper", "car racecar racer", "dice die", "doll dolly",
    "plush plushie", "dinosaur dino", "rhino rhinoceros", "hippo hippopotamus", "hen chicken", "pig piglet hog",
    "sheep lamb", "horse pony", "turtle tortoise", "duck duckling duckie", "chimp chimpanzee", "insect bug",
    "racket racquet", "block cuboid",
    # kitchen
    "kettle teakettle", "colander strainer sieve", "sieve sifter", "whisk beater", "grater shredder",
    "blender liquidizer liquidiser", "glove mitt mitten", "casserole stewpot", "thermos flask", "stein tankard",
    "sink basin", "bowl basin", "juicer squeezer", "mill grinder", "scoop scooper", "ketchup catsup",
    "mayo mayonnaise", "yogurt yoghurt", "loaf bread", "cola coke", "popsicle lolly", "mandarin tangerine clementine",
    "chilli chili", "maize corn sweetcorn", "coriander cilantro", "beet beetroot", "potato spud",
    # furniture and rooms
    "mat placemat", "mat rug", "mat pad", "rug carpet", "stool ottoman pouf", "armchair recliner", "chair seat",
    "wardrobe armoire closet", "cabinet locker", "dresser bureau commode",
    "sideboard credenza cabinet cupboard dresser", "cupboard almirah wardrobe", "stand riser pedestal plinth",
    "cushion pillow",
    "blanket throw", "duvet comforter", "curtain drape", "lamp light", "vase urn", "plant houseplant",
    "stairs staircase", "shelf ledge", "chest trunk", "fan ventilator", "bookshelf bookstand",
    # office
    "monitor screen display", "remote zapper", "charger adapter adaptor",
    "earbud earphone", "notepad notebook", "puncher punch", "folder portfolio", "parcel package",
    "organizer tidy sorter",
    "magazine periodical",
    # workshop and cleaning
    "bucket pail", "pallet skid", "barrel drum cask keg", "vise vice", "saw handsaw", "caliper calliper",
    "ladder stepladder", "vacuum hoover", "hydrant fireplug", "cone pylon", "pulley sheave", "crowbar prybar",
    "helmet hardhat",
    # worn, carried, for the bathroom
    "sneaker trainer", "jumper sweater pullover", "trousers pants", "backpack rucksack knapsack", "wallet billfold",
    "umbrella brolly", "watch wristwatch", "sunglasses shades", "scarf shawl", "razor shaver", "washcloth facecloth",
)  # fmt: skip
"""Words for the same objects; a word may be in several groups."""

NAMES = (
    # toys
    "fire truck|firetruck|fire engine", "race car|racing car|racecar", "fire hydrant|hydrant",
    "teddy bear|teddy|stuffed bear", "stuffed animal|soft toy|plush toy|plushie|cuddly toy",
    "rubber duck|rubber ducky|bath duck|toy duck", "jigsaw puzzle|jigsaw|puzzle", "rubiks cube|puzzle cube|magic cube",
    "toy block|building block|play block", "ping pong ball|table tennis ball", "soccer ball|football",
    "skipping rope|jump rope", "hockey puck|puck",
    # kitchen
    "placemat|place mat|table mat|dining mat", "tea pot|teapot", "tea cup|teacup", "tea spoon|teaspoon",
    "wine glass|wineglass|goblet", "beer mug|beer stein|tankard", "french press|cafetiere|coffee press",
    "coffee maker|coffee machine", "espresso maker|moka pot", "lunch box|lunchbox|bento box",
    "food container|tupperware|storage container", "gravy boat|sauce boat",
    "cutlery tray|silverware tray|flatware tray|cutlery organizer|silverware organizer|flatware organizer|utensil tray"
    "|cutlery insert|cutlery divider|cutlery box",
    "kitchen scale|kitchen scales|food scale|weighing scale", "ice cream scoop|icecream scoop|ice cream spoon",
    "fish slice|=spatula|egg turner", "chef knife|chefs knife|cooks knife|kitchen knife",
    "kitchen paper|paper towel|kitchen towel roll", "cling film|plastic wrap|saran wrap|cling wrap",
    "tin foil|aluminium foil|aluminum foil|kitchen foil|foil roll", "pressure cooker|instant pot",
    "toaster oven|mini oven", "cool box|=cooler|ice chest|esky", "hot water bottle|hot water bag",
    "tiffin|tiffin box|tiffin carrier|lunch box|dabba", "cruet|condiment set", "fruit bowl|fruit basket",
    "=masher|potato masher", "bin bag|trash bag|garbage bag|bin liner|rubbish bag", "egg timer|kitchen timer",
    "mixing bowl|prep bowl", "drinking straw|=straw", "sippy cup|beaker cup|toddler cup", "butter dish|butter box",
    "baking sheet|cookie sheet|baking tray|oven tray|sheet pan", "cake tin|cake pan|baking tin|baking pan",
    "muffin tin|muffin tray|muffin pan|cupcake tin|cupcake pan", "dish rack|dish drainer|drying rack|draining rack",
    "dish towel|tea towel|kitchen towel|dishcloth|dish cloth", "paper towel|kitchen roll|paper towel roll",
    "dish soap|washing up liquid|dishwashing liquid", "can opener|tin opener", "bottle opener|cap lifter",
    "oven mitt|oven glove|oven mitten", "salt shaker|salt cellar", "pepper mill|pepper grinder",
    "soda can|soft drink can|pop can|cola can|coke can|beverage can|drink can", "candy bar|chocolate bar",
    "spring onion|scallion|green onion", "bell pepper|sweet pepper|capsicum", "sugar bowl|sugar basin",
    "ice lolly|popsicle", "hot plate|hotplate",
    "table cloth|tablecloth", "water bottle|drinking bottle|sports bottle", "thermos flask|thermos|vacuum flask",
    "microwave oven|microwave",
    # furniture and rooms
    "sorting tray|compartment tray|divided tray|sectioned tray|organizer tray|divided box|divider box|compartment box"
    "|organizer|organizer box|sorter|caddy|desk tidy",
    "tool caddy|tool tote|tool carrier|tool basket|cleaning caddy|carry caddy|shower caddy|=caddy|=basket",
    "small table|little table|mini table|monitor stand|monitor riser|monitor shelf|screen stand|laptop stand"
    "|laptop riser"
    "|desk riser|desk shelf|=riser|=stand",
    "display stand|display riser|stepped stand|tiered stand|riser|display steps|step stand",
    "bookshelf|bookcase|shelf unit|shelving unit|shelving|storage shelf|shelves|shelf|cubby unit"
    "|cubby shelf|cube unit|cube shelf|cubbyhole unit|pigeonhole unit|pigeonhole rack|pigeon hole unit|storage unit"
    "|cubbies",
    "flower pot|plant pot|planter|flowerpot|garden pot|planting pot",
    "settee|sofa|couch|loveseat|love seat", "dressing table|vanity|vanity table", "coffee table|tea table|teapoy",
    "floor lamp|standard lamp|standing lamp", "reading lamp|desk lamp|table lamp|study lamp",
    "washing machine|=washer", "tumble dryer|clothes dryer|tumble drier", "alarm clock|bedside clock",
    "pedestal fan|standing fan|floor fan", "light bulb|lightbulb", "extension board|power strip|extension lead"
    "|power board|multi plug|multiplug|spike buster", "candle holder|candlestick|candle stick",
    "clothes peg|clothespin|clothes pin|washing peg", "ironing board|iron board",
    "waste paper bin|waste paper basket|paper bin|dust bin|dustbin|trash can",
    "trash can|trash bin|garbage bin|rubbish bin|waste bin|waste basket|waste paper basket|litter bin",
    "nightstand|night stand|night table|bedside table|bedside cabinet", "tv stand|media console|tv cabinet",
    "filing cabinet|file cabinet", "picture frame|photo frame", "laundry basket|hamper|laundry hamper",
    "coat hanger|clothes hanger|hanger", "potted plant|house plant|houseplant|pot plant", "table lamp|desk lamp",
    "foot stool|footstool|footrest", "step stool|stepping stool",
    "door mat|doormat", "bath mat|bathmat", "storage bin|storage box|storage tote|tote",
    # office
    "remote control|remote|tv remote|clicker", "mouse pad|mousepad|mouse mat", "hard drive|hard disk|hdd|disk drive",
    "flash drive|thumb drive|usb stick|usb drive|memory stick|pen drive|pendrive|usb key|usb flash drive|flash stick"
    "|usb pen|jump drive|thumbdrive",
    "magnifier|magnifying glass|magnifying lens|hand lens|loupe|reading glass|hand magnifier",
    "drawing pin|thumbtack|thumb tack|push pin|pushpin", "correction fluid|white out|tippex|whiteout|wite out",
    "felt tip pen|felt pen|=marker|marker pen|sketch pen", "highlighter|highlighter pen|highlighting pen",
    "whiteboard marker|dry erase marker|dry wipe marker", "desk calendar|table calendar", "bulldog clip|binder clip",
    "ear phone|earphone|ear bud|earbud", "head set|headset|head phone|headphone", "game controller|gamepad|joypad"
    "|game pad|games controller", "computer mouse|pc mouse", "laptop computer|laptop|notebook computer|notebook pc",
    "tablet computer|=tablet", "mobile phone|cell phone|cellphone|mobile|smartphone|smart phone|=handset",
    "phone charger|mobile charger|=charger", "phone case|phone cover|mobile cover", "calculator|pocket calculator",
    "geometry box|compass box|pencil box", "exercise book|=notebook|copybook|copy book",
    "sticky note|post it|post it note|memo note",
    "paper clip|paperclip", "hole punch|hole puncher|paper punch", "power bank|battery pack",
    "rubber band|elastic band", "ring binder|binder",
    "pen holder|pencil holder|pen cup|pencil cup|pen pot|pencil pot|pen stand",
    "pencil case|pencil pouch|pencil box|pen case",
    "letter tray|paper tray|document tray|in tray", "glue stick|stick of glue", "pencil sharpener|sharpener",
    "note pad|notepad|writing pad", "note book|notebook", "business card|calling card",
    "head phone|headphone", "ball pen|ballpoint pen|ballpoint",
    # workshop, street and cleaning
    "tool box|toolbox|tool chest|tool case", "jerry can|gas can|fuel can|petrol can|gasoline can",
    "safety glasses|goggles|safety goggles", "hard hat|hardhat|safety helmet", "hex key|allen key|allen wrench",
    "utility knife|box cutter|stanley knife|craft knife", "tape measure|measuring tape",
    "traffic cone|safety cone|road cone|pylon", "traffic barrel|construction barrel|safety barrel|traffic drum",
    "cinder block|concrete block|breeze block", "duct tape|gaffer tape", "adhesive tape|sticky tape|scotch tape",
    "power drill|electric drill", "spray bottle|trigger bottle", "vacuum cleaner|vacuum|hoover",
    "dust pan|dustpan", "adjustable wrench|adjustable spanner|crescent wrench",
    "screw driver|screwdriver",
    "monkey wrench|pipe wrench|stillson wrench", "torch light|flashlight|electric torch", "=cutter|box cutter",
    "soldering iron|solder iron", "spirit level|bubble level", "super glue|superglue|instant glue",
    "insulating tape|electrical tape|insulation tape", "masking tape|painters tape", "sand paper|sandpaper|glass paper"
    "|emery paper", "dust brush|hand brush", "scrubbing brush|scrub brush", "mosquito bat|mosquito racket",
    "masonry block|concrete block", "cutting pliers|combination pliers",
    "sellotape|adhesive tape|cello tape|cellotape", "cable tie|zip tie",
    "extension cord|extension cable|extension lead",
    "depth camera|rgbd camera|rgb d camera|3d camera", "shipping box|delivery box|parcel", "flash light|flashlight",
    # for the bathroom, worn
    "tooth brush|toothbrush", "tooth paste|toothpaste", "hair brush|hairbrush", "hair dryer|hairdryer|blow dryer",
    "toilet paper|toilet roll|loo roll", "wash cloth|washcloth|face cloth|flannel", "back pack|backpack",
    "running shoe|sneaker|trainer|gym shoe", "t shirt|tee shirt|tshirt",
    "flip flop|flipflop|thong sandal|rubber slipper",
    "nail clipper|nail cutter", "cotton bud|cotton swab|q tip|ear bud stick", "band aid|=plaster|sticking plaster"
    "|adhesive bandage", "first aid kit|first aid box", "hand wash|liquid soap", "nail varnish|nail polish",
    "hair tie|hair band|hair bobble|scrunchie", "tie pin|tie clip", "hand bag|handbag", "baseball cap|ball cap",
    "rain coat|raincoat", "spectacle case|glasses case|specs case", "eye glasses|eyeglasses|specs|spectacles",
    "nappy|diaper", "pacifier|=dummy|soother", "baby bottle|feeding bottle", "sanitiser|sanitizer|hand sanitizer",
)  # fmt: skip
"""Whole names, separated by |, for the same object; words in front of them are compared as usual."""

KINDS = {
    "insect": "ant bee beetle butterfly ladybug ladybird spider fly",
    "vehicle": "ambulance lorry tractor firetruck plane airplane boat ship helicopter motorbike scooter racecar "
    "excavator bulldozer",
    "truck": "firetruck lorry pickup",
    "toy": "truck bus plane boat dinosaur plush figurine frisbee yoyo",
    "animal": "lamb goat donkey hen rooster mouse frog turtle snake monkey zebra rhino hippo tiger wolf fox crocodile "
    "dinosaur kangaroo penguin shark whale dolphin squirrel",
    "fruit": "blueberry raspberry coconut clementine fig avocado papaya pomegranate",
    "vegetable": "spinach pea bean beet turnip leek asparagus cauliflower artichoke chilli",
    "appliance": "toaster kettle microwave blender mixer oven fridge refrigerator dishwasher",
    "condiment": "ketchup mustard mayonnaise mayo relish vinegar",
    "snack": "chips crisps cookie biscuit cracker pretzel popcorn candy",
    "shoe": "sneaker trainer boot sandal loafer slipper",
    "footwear": "shoe sneaker trainer boot sandal slipper",
    "bag": "backpack handbag rucksack tote",
    "seat": "chair stool bench armchair",
    "light": "lamp lantern flashlight",
    "brush": "toothbrush hairbrush paintbrush",
    "pot": "teapot flowerpot coffeepot stockpot",
    "mat": "doormat bathmat",
    "ball": "volleyball",
    "camera": "webcam camcorder",
    "container": "bucket barrel drum tote organizer pail",
    "electronics": "phone laptop tablet remote camera keyboard mouse television speaker headphone monitor charger",
    "gadget": "phone tablet remote camera drone",
    "decoration": "vase candle figurine statue ornament",
    "furniture": "armchair stool bookshelf bookcase wardrobe nightstand",
    "tool": "ratchet mallet crowbar shovel spade trowel axe multimeter caliper",
    "device": "monitor charger headphone webcam",
    "stationery": "envelope folder binder paperclip notepad",
}
"""Further words of a kind, merged with those of `labels`."""
