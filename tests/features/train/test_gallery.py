"""Galleries: pictures, captions and landmarks of one size, the same whoever draws them."""

from random import Random

import numpy as np
import pytest
import torch

from pixart_cli.diffusion.posters.caption import all_words
from pixart_cli.diffusion.posters.draw import draw
from pixart_cli.diffusion.posters.scene import Landscape, Scene, Shapes, sample_scene
from pixart_cli.features.train import gallery, language
from pixart_cli.features.train.close_ups import close_up
from pixart_cli.features.train.gallery import CAPTION_TOKENS, CAPTIONS, Part, choose, hang, training_scene
from pixart_cli.features.train.landmarks import CHANNELS, landmarks, token_map

PART = Part(48, 32, range(100, 106), 0.9)
CLOSE = Part(32, 32, range(7, 9), 0.1, close=True)


@pytest.fixture(scope="module")
def hung() -> list[gallery.Gallery]:
    return hang([PART, CLOSE], 0, workers=1)


def test_a_gallery_holds_the_pictures_of_its_part(hung: list[gallery.Gallery]) -> None:
    whole, close = hung
    drawn = draw(training_scene(102, 0), 48, 32, seed=102)
    assert np.array_equal(whole.pixels[2].numpy(), np.asarray(drawn))
    near = close_up(training_scene(8, 0), 32, 32, seed=8)
    assert np.array_equal(close.pixels[1].numpy(), np.asarray(near))


def test_what_is_learned_soonest_is_shown_seldom() -> None:
    shown = [training_scene(index, 5) for index in range(800)]
    asked = [sample_scene(Random(f"asked {index}")) for index in range(800)]
    plain, counted, shapes = zip(*(_shares(scenes) for scenes in (shown, asked)), strict=True)
    assert plain[0] < 0.75 * plain[1]
    assert counted[0] > 1.1 * counted[1]
    assert shapes[0] > 1.1 * shapes[1]


def _shares(scenes: list[Scene]) -> tuple[float, float, float]:
    """Of scenes in which nothing stands, of those in which something does, and of shapes."""
    standing = [scene.standing is not None for scene in scenes if isinstance(scene, Landscape)]
    shapes = sum(isinstance(scene, Shapes) for scene in scenes)
    plain = len(scenes) - sum(standing) - shapes
    return plain / len(scenes), sum(standing) / len(scenes), shapes / len(scenes)


def test_every_picture_is_said_in_a_few_ways(hung: list[gallery.Gallery]) -> None:
    ids = hung[0].ids
    assert ids.shape == (6, CAPTIONS, CAPTION_TOKENS)
    assert ((ids == language.END).sum(dim=2) == 1).all()
    assert len({tuple(row) for row in ids[0].tolist()}) > 1
    tokenizer = language.build_tokenizer()
    words = tokenizer.decode(ids[0, 0].tolist(), skip_special_tokens=True).replace(",", " ").split()
    assert len(words) > 2
    assert set(words) <= set(all_words())


def test_landmarks_are_those_of_the_picture(hung: list[gallery.Gallery]) -> None:
    whole, close = hung
    said, counts = token_map(landmarks(training_scene(104, 0), 48, 32, 104), 2, 3)
    assert whole.said.shape == whole.counts.shape == (6, 6, CHANNELS)
    assert torch.allclose(whole.said[4, 5].float(), torch.from_numpy(said[:, 1, 2]), atol=1e-2)
    assert torch.allclose(whole.counts[4, 5].float(), torch.from_numpy(counts[:, 1, 2]))
    assert close.said.shape == (2, 0, CHANNELS)


def test_several_processes_draw_what_one_draws(
    hung: list[gallery.Gallery], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gallery, "_AT_ONCE", 2)
    for one, several in zip(hung, hang([PART, CLOSE], 0, workers=2), strict=True):
        assert torch.equal(one.pixels, several.pixels)
        assert torch.equal(one.ids, several.ids)
        assert torch.equal(one.said, several.said)


def test_a_process_that_fails_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gallery, "_fill", lambda *_: 1 / 0)
    monkeypatch.setattr(gallery, "_AT_ONCE", 2)
    with pytest.raises(RuntimeError, match="before its time"):
        hang([PART], 0, workers=2)


def test_crops_are_where_they_are_asked_for(hung: list[gallery.Gallery]) -> None:
    crops = hung[0].crops(torch.tensor([1, 4]), torch.tensor([0, 8]), torch.tensor([5, 16]), (16, 24))
    assert crops.shape == (2, 3, 16, 24)
    wanted = hung[0].pixels[4, 8:24, 16:40].permute(2, 0, 1).float() / 127.5 - 1
    assert torch.allclose(crops[1], wanted)


def test_parts_are_taken_by_their_shares() -> None:
    rng = Random(0)
    taken = [choose([PART, CLOSE], rng) for _ in range(1000)]
    assert taken.count(1) == pytest.approx(100, abs=30)
