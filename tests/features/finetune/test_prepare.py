"""The cache: once, safe to stop, and bad pictures are left out."""

import pytest
import torch

from pixart_cli.diffusion.decode import encode
from pixart_cli.diffusion.init_image import covering, picture_of
from pixart_cli.diffusion.text import encode as encode_text
from pixart_cli.features.finetune.plan import plan_training
from pixart_cli.features.finetune.prepare import Cache, TrainEvent
from tests.features.finetune.conftest import png, refused


@pytest.fixture
def cache(configure) -> Cache:
    return Cache(plan_training(configure(cache=None)))


def lessons(cache: Cache):
    return cache._plan.lessons


def test_latents_are_the_vae_s_posterior_of_the_least_crop(cache) -> None:
    assert cache.read_pictures(lessons(cache), lambda event: None) == []
    lesson = lessons(cache)[0]
    mean, deviation = cache.latents.load(cache.name_of(lesson))
    pixels = torch.from_numpy(covering(picture_of(lesson.picture.read()), lesson.width, lesson.height))
    with torch.inference_mode():
        assert torch.allclose(mean, encode(cache.load_vae(), pixels)[0], atol=1e-6)
    assert mean.shape == (4, lesson.height // 8, lesson.width // 8)
    assert (deviation > 0).all()


def test_what_is_kept_is_not_done_again_and_a_stop_loses_nothing(cache) -> None:
    events: list[TrainEvent] = []

    def stop_after_two(event: TrainEvent) -> None:
        events.append(event)
        if len(events) == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        cache.read_pictures(lessons(cache), stop_after_two)
    cache.read_pictures(lessons(cache), events.append)
    assert [(each.done, each.total) for each in events[2:]] == [(n, 4) for n in range(1, 5)]
    cache.read_pictures(lessons(cache), lambda event: pytest.fail("all were there"))


def test_a_truncated_picture_is_left_out_by_name(configure, tmp_path) -> None:
    folder = tmp_path / "data"
    folder.mkdir()
    (folder / "whole.png").write_bytes(png(60, 60))
    noisy = torch.randint(0, 255, (60, 60, 3), dtype=torch.uint8).numpy()
    from PIL import Image

    Image.fromarray(noisy).save(folder / "cut.png")
    (folder / "cut.png").write_bytes((folder / "cut.png").read_bytes()[:3000])
    plan = plan_training(configure(data=str(folder), instance_prompt="a red sun"))
    assert len(plan.lessons) == 2
    (skipped,) = Cache(plan).read_pictures(plan.lessons, lambda event: None)
    assert skipped.name == "cut.png"
    assert "damaged" in skipped.why


def test_embeddings_are_the_encoder_s_and_of_the_words_alone(cache) -> None:
    from pixart_cli.diffusion.pipeline import load

    cache.read_captions(["", "A red Sun "], lambda event: None)
    parts = load(cache.installed, cache._plan.memory)
    with torch.inference_mode():
        expected = encode_text(parts.tokenizer, parts.text_encoder, "a red sun", max_tokens=32)
    assert torch.equal(cache.embeds("a red sun"), expected)
    assert len(cache.embeds("")) == 1
    cache.read_captions(["a red sun"], lambda event: pytest.fail("it was there"))


def test_embeddings_that_have_gone_are_told(cache) -> None:
    assert "have gone" in refused(lambda: cache.embeds("never read")).message


def test_another_vae_has_latents_of_its_own(configure, cache, tmp_path) -> None:
    from tests.toy_model import toy_vae

    torch.manual_seed(3)
    toy_vae().save_pretrained(tmp_path / "vae")
    other = Cache(plan_training(configure(vae=str(tmp_path / "vae"))))
    assert other.name_of(lessons(cache)[0]) != cache.name_of(lessons(cache)[0])


def test_words_that_a_small_encoder_was_never_taught_are_found(cache) -> None:
    assert cache.untaught(["a red zeppelin", "a red sun", "a zeppelin and a walrus"]) == [
        "zeppelin",
        "walrus",
    ]
