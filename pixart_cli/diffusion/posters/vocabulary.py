"""The words and colours of the built-in model's world: what it can be asked for, as data.

Every word a caption may hold comes from here or from `caption.py`; the tokenizer is built from both.
"""

from __future__ import annotations

from typing import Final

RGB = tuple[int, int, int]

# Poster inks, at least 15 apart in CIE Lab so that a name can be read back from a pixel.
COLOURS: Final[dict[str, RGB]] = {
    "red": (212, 44, 38),
    "orange": (240, 128, 28),
    "yellow": (252, 208, 52),
    "green": (58, 148, 72),
    "teal": (28, 160, 158),
    "blue": (46, 108, 206),
    "navy": (22, 34, 86),
    "purple": (124, 60, 162),
    "pink": (246, 142, 178),
    "brown": (122, 74, 42),
    "black": (20, 20, 24),
    "white": (248, 248, 246),
    "gray": (142, 146, 152),
    "cream": (246, 230, 196),
}

# Other words for the same ink; the first word of each colour is its name.
COLOUR_WORDS: Final[dict[str, tuple[str, ...]]] = {
    "red": ("red", "scarlet"),
    "orange": ("orange",),
    "yellow": ("yellow", "golden"),
    "green": ("green", "emerald"),
    "teal": ("teal", "turquoise"),
    "blue": ("blue",),
    "navy": ("navy",),
    "purple": ("purple", "violet"),
    "pink": ("pink", "rose"),
    "brown": ("brown",),
    "black": ("black",),
    "white": ("white",),
    "gray": ("gray", "grey"),
    "cream": ("cream", "beige"),
}

LANDS: Final = ("mountains", "hills", "dunes", "sea", "forest", "city")
LAND_WORDS: Final[dict[str, tuple[str, ...]]] = {
    "mountains": ("mountains", "mountain range", "peaks"),
    "hills": ("hills", "rolling hills"),
    "dunes": ("dunes", "desert dunes", "sand dunes"),
    "sea": ("sea", "ocean"),
    "forest": ("forest", "pine forest", "woods"),
    "city": ("city", "city skyline", "skyline"),
}

# Inks that a land is drawn in when nobody says which.
LAND_DEFAULTS: Final[dict[str, tuple[str, ...]]] = {
    "mountains": ("blue", "navy", "purple", "teal", "gray", "brown"),
    "hills": ("green", "teal", "brown", "yellow"),
    "dunes": ("orange", "yellow", "brown", "red"),
    "sea": ("blue", "teal", "navy"),
    "forest": ("green", "teal", "navy"),
    "city": ("navy", "black", "gray", "purple"),
}

TIMES: Final[dict[str, tuple[str, ...]]] = {
    "dawn": ("pink", "yellow", "cream"),
    "day": ("blue", "teal", "white"),
    "dusk": ("orange", "purple", "red"),
    "night": ("navy", "black"),
}
TIME_WORDS: Final[dict[str, tuple[str, ...]]] = {
    "dawn": ("at dawn", "at sunrise", "in the early morning"),
    "day": ("by day", "at noon", "in daylight"),
    "dusk": ("at dusk", "at sunset", "in the evening"),
    "night": ("at night", "by night"),
}

CELESTIAL: Final = ("sun", "moon")
FLYERS: Final = ("stars", "clouds", "birds")
STANDING: Final[dict[str, tuple[str, ...]]] = {
    "mountains": ("tree", "house"),
    "hills": ("tree", "house"),
    "dunes": ("cactus", "house"),
    "sea": ("boat",),
    "forest": ("house",),
    "city": (),
}
SHAPES: Final = ("circle", "triangle", "square", "star")
IN_THE_SKY: Final = ("sun", "moon", "cloud", "bird")
ON_THE_LAND: Final = ("tree", "house", "cactus", "boat")
FAMILIES: Final = (IN_THE_SKY, ON_THE_LAND, SHAPES)
"""Things that may be mistaken for each other: where one of a family can be, none of another can."""
OF_LANDSCAPES: Final = (*IN_THE_SKY, *ON_THE_LAND)
THINGS: Final = (*OF_LANDSCAPES, *SHAPES)
RELATIONS: Final = ("left of", "right of", "above", "below")
PLACES: Final = ("left", "center", "right")

# Other words for a thing, as (singular, plural); the first is its name.
THING_WORDS: Final[dict[str, tuple[tuple[str, str], ...]]] = {
    "tree": (("tree", "trees"),),
    "house": (("house", "houses"), ("cabin", "cabins")),
    "cactus": (("cactus", "cacti"),),
    "boat": (("boat", "boats"), ("sailboat", "sailboats"), ("ship", "ships")),
    "circle": (("circle", "circles"), ("disc", "discs")),
    "triangle": (("triangle", "triangles"),),
    "square": (("square", "squares"),),
    "star": (("star", "stars"),),
    "bird": (("bird", "birds"),),
    "cloud": (("cloud", "clouds"),),
    "sun": (("sun", "suns"),),
    "moon": (("moon", "moons"), ("crescent moon", "moons")),
}
NUMBERS: Final = ("one", "two", "three", "four")

# The object's ink must stand off from what is behind it by this much (CIE76 difference).
LEAST_CONTRAST: Final = 32.0
