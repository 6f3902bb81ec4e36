"""Scenes: chance is repeatable, and what is held out never reaches training."""

from random import Random

from pixart_cli.diffusion.posters.palette import contrast
from pixart_cli.diffusion.posters.scene import Landscape, Shapes, Stripes, is_held_out, sample_scene
from pixart_cli.diffusion.posters.vocabulary import LEAST_CONTRAST, STANDING


def scenes(count: int, *, held_out: bool) -> list[Landscape | Shapes | Stripes]:
    rng = Random(3)
    return [sample_scene(rng, held_out=held_out) for _ in range(count)]


def test_the_same_chance_gives_the_same_scene() -> None:
    assert sample_scene(Random(11)) == sample_scene(Random(11))


def test_training_never_sees_a_held_out_combination() -> None:
    training = scenes(600, held_out=False)
    assert not any(is_held_out(scene) for scene in training)
    assert all(is_held_out(scene) for scene in scenes(100, held_out=True))


def test_every_kind_of_scene_appears_on_both_sides_of_the_split() -> None:
    for held_out in (False, True):
        kinds = {type(scene) for scene in scenes(400, held_out=held_out)}
        assert kinds == {Landscape, Shapes, Stripes}


def test_things_stand_off_from_what_is_behind_them() -> None:
    for scene in scenes(400, held_out=False):
        if isinstance(scene, Landscape):
            assert contrast(scene.sky, scene.land_colour) >= LEAST_CONTRAST
            if scene.celestial is not None:
                assert contrast(scene.sky, scene.celestial.colour) >= LEAST_CONTRAST
        elif isinstance(scene, Shapes):
            assert all(contrast(scene.background, g.colour) >= LEAST_CONTRAST for g in scene.groups)


def test_only_what_fits_a_land_stands_on_it() -> None:
    for scene in scenes(400, held_out=False):
        if isinstance(scene, Landscape) and scene.standing is not None:
            assert scene.standing.kind in STANDING[scene.land]
