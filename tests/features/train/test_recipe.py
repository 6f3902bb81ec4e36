"""The recipe: which lessons are given, on which pictures."""

import dataclasses

import pytest

from pixart_cli.features.train.recipe import (
    FULL_SIZES,
    GPU,
    LESSONS,
    SMALL_SIZES,
    MiniRecipe,
    processor,
    timed_recipe,
)


@pytest.mark.parametrize("sizes", [SMALL_SIZES, FULL_SIZES])
def test_shares_are_a_whole_and_sizes_fit_tokens(sizes: list[tuple[tuple[int, int], float]]) -> None:
    assert sum(share for _, share in sizes) == pytest.approx(1.0)
    assert all(side % 16 == 0 for size, _ in sizes for side in size)


def test_no_picture_is_in_two_lessons() -> None:
    small, full = MiniRecipe().curriculum
    assert small == (LESSONS[0], range(40_000))
    assert full == (LESSONS[1], range(40_000, 56_000))


def test_from_a_saved_model_only_the_last_lesson_is_given() -> None:
    assert dataclasses.replace(MiniRecipe(), start="mini").curriculum == MiniRecipe().curriculum[1:]


def test_a_gpu_shares_its_minutes_out_over_the_stages() -> None:
    recipe = timed_recipe(10.0, GPU)
    stages = [
        recipe.autoencoder,
        recipe.language,
        *(lesson.settings for lesson in recipe.lessons),
        recipe.decoder,
    ]
    assert sum(stage.seconds or 0.0 for stage in stages) == pytest.approx(600.0)
    assert recipe.lessons[1].batch > LESSONS[1].batch


def test_a_decoder_that_has_learned_gets_a_tenth() -> None:
    recipe = timed_recipe(10.0, GPU, start="mini")
    assert recipe.decoder.seconds == pytest.approx(60.0)
    assert recipe.lessons[-1].settings.seconds == pytest.approx(540.0)


@pytest.mark.parametrize(
    ("start", "autoencoder_from", "left"),
    [("mini", None, ("full", "decoder")), (None, "mini", ("language", "small", "full", "decoder"))],
)
def test_no_minutes_go_to_what_is_taken_from_elsewhere(
    start: str | None, autoencoder_from: str | None, left: tuple[str, ...]
) -> None:
    recipe = timed_recipe(10.0, GPU, start=start, autoencoder_from=autoencoder_from)
    lessons = {lesson.name: lesson.settings for lesson in recipe.lessons}
    stages = {
        "autoencoder": recipe.autoencoder,
        "language": recipe.language,
        "decoder": recipe.decoder,
        **lessons,
    }
    assert sum(stages[name].seconds or 0.0 for name in left) == pytest.approx(600.0)


def test_a_processor_takes_as_much_at_once_as_it_has_processes() -> None:
    alone, two = (timed_recipe(10.0, processor(10.0, count)) for count in (1, 2))
    assert [lesson.batch for lesson in two.lessons] == [2 * lesson.batch for lesson in alone.lessons]
    assert two.lessons[1].pictures == 2 * alone.lessons[1].pictures
    assert alone.lessons[1].batch < timed_recipe(10.0, GPU).lessons[1].batch
