"""What is said before drawing: losses, few-step models, and the way to a larger model."""

import pytest
from PIL import Image

SMALL = ("-r", "64x48")


def test_three_screens_are_drawn_and_the_loss_is_told(pixart, tmp_path):
    ran = pixart("gen", "sun", "-r", "triple", "-o", "x.png")
    assert ran.code == 0
    with Image.open(tmp_path / "x.png") as picture:
        assert picture.size == (5760, 1080)
    assert "warning: 5760x1080 is cut from a picture of" in ran.err
    assert "25% of what is drawn is lost" in ran.err


@pytest.mark.parametrize("size", ["4k", "duhd", "phone", "11x17in"])
def test_sizes_near_a_trained_one_lose_nothing_worth_a_warning(pixart, size):
    assert pixart("gen", "sun", "-r", size, "--dry-run", "--json").json["warnings"] == []


def test_the_default_model_is_named_with_the_way_to_a_larger_one(pixart):
    assert "hint: mini, the built-in model" in pixart("gen", "sun", *SMALL).err
    assert "hint" not in pixart("gen", "moon", *SMALL, "-m", "mini").err
    assert "models pull sigma-1024" in pixart("gen", "sea", *SMALL).err


def test_a_few_step_model_warns_of_what_it_was_not_trained_for(pixart):
    def warnings(model, *words):
        return pixart("gen", "sun", *SMALL, "-m", model, *words, "--dry-run", "--json").json["warnings"]

    assert [warnings(model) for model in ("lcm", "dmd", "alpha-1024")] == [[], [], []]
    assert warnings("alpha-1024", "--guidance", 9, "--scheduler", "euler", "--steps", 1) == []
    (guided,) = warnings("lcm", "--guidance", 4.5, "--steps", 8)
    assert guided.startswith("lcm has guidance in its weights: 4.5")
    ruled, stepped = warnings("dmd", "--scheduler", "ddim", "--steps", 4)
    assert (ruled[-9:], stepped[-15:]) == ("lcm alone", "--steps 1 alone")


def test_a_network_that_is_not_compiled_is_named(pixart):
    ran = pixart("gen", "sun", *SMALL, "-m", "sdxl", "--torch-compile", "--dry-run")
    assert "warning: --torch-compile is for PixArt's networks, not for sdxl: left out" in ran.err
    assert "compiled" not in ran.err.replace("--torch-compile", "")
    assert (
        "left out" not in pixart("gen", "sun", *SMALL, "-m", "sigma-256", "--torch-compile", "--dry-run").err
    )


def test_guidance_that_does_nothing_is_told(pixart, tmp_path):
    Image.new("RGB", (64, 48)).save(tmp_path / "start.png")
    words = ("gen", "sun", *SMALL, "-m", "mini", "--init-image", "start.png", "--dry-run", "--json")
    told = "--guidance-until 0.7 of 20 steps, the last 6 of which are made: none is guided"
    (warning,) = pixart(*words, "--strength", 0.3, "--guidance", 7).json["warnings"]
    assert warning.startswith(told)
    assert pixart(*words, "--strength", 0.3, "--negative", "sea").json["warnings"] == [warning]
    for other in (("--strength", 0.4), ("--guidance-until", 1), ("--guidance", 1)):
        more = () if "--strength" in other else ("--strength", 0.3)
        more += () if "--guidance" in other else ("--guidance", 7)
        assert pixart(*words, *more, *other).json["warnings"] == []
    assert pixart(*words, "--strength", 0.3).json["warnings"] == []


def test_what_is_sampled_at_once_loses_nothing(pixart):
    ran = pixart("gen", "sun", "-m", "mini", "--direct", "-r", "triple", "--dry-run")
    assert ran.code == 0
    assert "lost" not in ran.err
    assert "cut away" not in ran.out
