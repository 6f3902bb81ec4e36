"""A scene in words: the same picture said in many ways, and which of its attributes were said."""

from __future__ import annotations

from dataclasses import dataclass
from random import Random

from pixart_cli.diffusion.posters.scene import Group, Landscape, Scene, Shapes, Stripes
from pixart_cli.diffusion.posters.vocabulary import COLOUR_WORDS, LAND_WORDS, NUMBERS, THING_WORDS, TIME_WORDS

OPENINGS = (
    "poster of", "a poster of", "flat poster of", "a flat poster of", "minimal poster of", "wallpaper of",
    "a wallpaper of", "minimal wallpaper of", "a flat illustration of", "illustration of", "a picture of",
)  # fmt: skip
ENDINGS = ("flat poster", "minimal poster", "wallpaper", "flat style", "minimal style", "flat design")
PLACE_WORDS = {
    "left": ("on the left", "to the left", "at the left"),
    "center": ("in the middle", "in the center", "in the centre"),
    "right": ("on the right", "to the right", "at the right"),
}
RELATION_WORDS = {
    "left of": ("left of", "to the left of"),
    "right of": ("right of", "to the right of"),
    "above": ("above", "over"),
    "below": ("below", "under", "beneath"),
}


@dataclass(frozen=True)
class Caption:
    """The text, and the attributes of the scene it names ("sky.colour", "celestial.place" …)."""

    text: str
    asked: frozenset[str]


class _Writer:
    """Collects what has been said while a caption is put together."""

    def __init__(self, rng: Random) -> None:
        self.rng = rng
        self.asked: set[str] = set()

    def says(self, attribute: str, chance: float) -> bool:
        """Whether to name `attribute`; if so it is noted."""
        said = self.rng.random() < chance
        if said:
            self.asked.add(attribute)
        return said

    def ink(self, attribute: str, colour: str, chance: float) -> str:
        """The colour's word and a space, or nothing."""
        return colour_word(colour, self.rng) + " " if self.says(attribute, chance) else ""

    def group(self, group: Group, role: str, *, colour: float, place: float, article: str = "") -> str:
        """A noun phrase: "two red trees", "a boat on the left"."""
        self.asked.update((f"{role}.kind", f"{role}.count"))
        ink = self.ink(f"{role}.colour", group.colour, colour)
        single, several = thing_word(group.kind, self.rng)
        if group.count == 1:
            first = article or with_article(ink or single)
            phrase = f"{first} {ink}{single}"
        else:
            phrase = f"{number_word(group.count, self.rng)} {ink}{several}"
        if group.place is not None and self.says(f"{role}.place", place):
            phrase += " " + self.rng.choice(PLACE_WORDS[group.place])
        return phrase


def with_article(word: str) -> str:
    """ "a" or "an", by the word's first letter."""
    return "an" if word[0] in "aeiou" else "a"


def colour_word(colour: str, rng: Random) -> str:
    """Mostly the colour's own name, at times another word for it."""
    words = COLOUR_WORDS[colour]
    return words[0] if rng.random() < 0.8 else rng.choice(words)


def thing_word(kind: str, rng: Random) -> tuple[str, str]:
    """Mostly the thing's own name, at times another word; (singular, plural)."""
    words = THING_WORDS[kind]
    return words[0] if rng.random() < 0.75 else rng.choice(words)


def number_word(count: int, rng: Random) -> str:
    """ "two", "2", or "a pair of"."""
    draw = rng.random()
    if count == 2 and draw < 0.08:
        return "a pair of"
    return str(count) if draw > 0.9 else NUMBERS[count - 1]


def write_caption(scene: Scene, rng: Random) -> Caption:
    """One way of saying `scene`."""
    writer = _Writer(rng)
    if isinstance(scene, Landscape):
        text = _landscape(scene, writer)
    elif isinstance(scene, Shapes):
        text = _shapes(scene, writer)
    else:
        text = _stripes(scene, writer)
    draw = rng.random()
    if draw < 0.3:
        text = f"{rng.choice(OPENINGS)} {text}"
    elif draw < 0.4:
        text = f"{text}, {rng.choice(ENDINGS)}"
    return Caption(text, frozenset(writer.asked))


def _landscape(scene: Landscape, w: _Writer) -> str:
    land = _land(scene, w)
    head = land
    if scene.celestial is not None:
        light = w.group(
            scene.celestial,
            "celestial",
            colour=0.85,
            place=0.45,
            article=w.rng.choice(("a", "a", "the", "one")),
        )
        light = _mend_article(light)
        form = w.rng.choice(
            ("{l} over {g}", "{l} over {g}", "{l} above {g}", "{g} under {l}", "{g} with {l}", "{g} and {l}")
        )
        head = form.format(l=light, g=land)
    tails = [t for t in (_sky(scene, w), _flyers(scene, w), _standing(scene, w)) if t]
    w.rng.shuffle(tails)
    time = " " + w.rng.choice(TIME_WORDS[scene.time]) if scene.time and w.says("time", 0.9) else ""
    joint = w.rng.choice((", ", ", ", " and ")) if len(tails) == 1 else ", "
    return (
        head
        + time
        + "".join(
            joint + tail if not tail.startswith(("under", "against", "with")) else " " + tail
            for tail in tails
        )
    )


def _mend_article(phrase: str) -> str:
    article, rest = phrase.split(" ", 1)
    return f"{with_article(rest)} {rest}" if article in ("a", "an") else phrase


def _land(scene: Landscape, w: _Writer) -> str:
    w.asked.add("land.kind")
    ink = w.ink("land.colour", scene.land_colour, 0.85)
    words = LAND_WORDS[scene.land]
    word = words[0] if w.rng.random() < 0.7 else w.rng.choice(words)
    if scene.land in ("sea", "forest", "city") or word == "mountain range":
        article = w.rng.choice(("a", "a", "the", ""))
        article = with_article(ink or word) if article == "a" else article
        return f"{article} {ink}{word}".strip()
    return f"{ink}{word}"


def _sky(scene: Landscape, w: _Writer) -> str:
    if not w.says("sky.colour", 0.35 if scene.time else 0.75):
        return ""
    ink = colour_word(scene.sky, w.rng)
    article = with_article(ink)
    forms = (
        f"under {article} {ink} sky",
        f"{article} {ink} sky",
        f"{ink} sky",
        f"against {article} {ink} sky",
        f"with {article} {ink} sky",
    )
    return w.rng.choice(forms)


def _flyers(scene: Landscape, w: _Writer) -> str:
    if scene.flyers is None or w.rng.random() > 0.95:
        return ""
    if scene.flyers.kind == "stars":
        w.asked.add("flyers.kind")
        return w.rng.choice(("with stars", "stars", "many stars", "with stars in the sky", "a starry sky"))
    phrase = w.group(scene.flyers, "flyers", colour=0.35, place=0.0)
    return w.rng.choice(("{p}", "with {p}", "{p} in the sky", "with {p} in the sky")).format(p=phrase)


def _standing(scene: Landscape, w: _Writer) -> str:
    if scene.standing is None or w.rng.random() > 0.95:
        return ""
    phrase = w.group(scene.standing, "standing", colour=0.85, place=0.6)
    return w.rng.choice(("{p}", "with {p}")).format(p=phrase)


def _shapes(scene: Shapes, w: _Writer) -> str:
    phrases = [w.group(g, f"shape{i}", colour=0.97, place=0.5) for i, g in enumerate(scene.groups)]
    text = phrases[0]
    if scene.relation is not None:
        if w.says("relation", 0.75):
            text = f"{phrases[0]} {w.rng.choice(RELATION_WORDS[scene.relation])} {phrases[1]}"
        else:
            text = f"{phrases[0]} and {phrases[1]}"
    if not w.says("background.colour", 0.9):
        return text
    ink = colour_word(scene.background, w.rng)
    article = with_article(ink)
    forms = (
        f" on {article} {ink} background",
        f" on {ink}",
        f", {ink} background",
        f" on {article} {ink} ground",
        f" against {article} {ink} background",
    )
    return text + w.rng.choice(forms)


def _stripes(scene: Stripes, w: _Writer) -> str:
    w.asked.update(("stripes.kind", "stripes.colours"))
    inks = [colour_word(c, w.rng) for c in (scene.first, scene.second)]
    w.rng.shuffle(inks)
    direction = scene.direction + " " if w.says("stripes.direction", 0.7) else ""
    return f"{direction}{inks[0]} and {inks[1]} stripes"


def all_words() -> tuple[str, ...]:
    """Every word a caption can hold, sorted: the tokenizer's vocabulary."""
    words: set[str] = {
        "a",
        "an",
        "the",
        "one",
        "and",
        "with",
        "under",
        "against",
        "over",
        "above",
        "sky",
        "in",
        "on",
        "of",
    }
    words.update(
        "stars many starry background ground stripes vertical horizontal diagonal pair 2 3 4 sun moon".split()
    )
    phrases = [
        *OPENINGS,
        *ENDINGS,
        *NUMBERS,
        *(word for pairs in THING_WORDS.values() for pair in pairs for word in pair),
    ]
    for table in (COLOUR_WORDS, LAND_WORDS, TIME_WORDS, PLACE_WORDS, RELATION_WORDS):
        phrases += [phrase for variants in table.values() for phrase in variants]
    for phrase in phrases:
        words.update(phrase.split())
    return tuple(sorted(words))
