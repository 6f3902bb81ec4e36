"""The teacher: words are learned before pictures, and another model's are taken over where they fit."""

from pathlib import Path

import pytest
import torch

from pixart_cli.core.errors import PixartError
from pixart_cli.diffusion.weights import locate
from pixart_cli.features.train import denoiser
from pixart_cli.features.train.gallery import Gallery, Part, hang
from pixart_cli.features.train.loop import StageSettings
from pixart_cli.features.train.recipe import MiniRecipe
from pixart_cli.features.train.studio import Studio
from pixart_cli.features.train.teacher import Teacher
from pixart_cli.features.train.team import Team

LANGUAGE = StageSettings(name="language", steps=12, learning_rate=5e-3, warmup_steps=2, ema_decay=0.5)


@pytest.fixture
def studio(tmp_path: Path) -> Studio:
    recipe = MiniRecipe(language=LANGUAGE, captions=8)
    return Studio(tmp_path, recipe, Team(), torch.device("cpu"), print)


@pytest.fixture(scope="module")
def gallery() -> Gallery:
    return hang([Part(32, 32, range(4), 1.0)], seed=0, workers=1)[0]


def neighbours_missed(teacher: Teacher, gallery: Gallery) -> float:
    ids = gallery.ids.flatten(0, 1).long()
    with torch.no_grad():
        return teacher._read(ids, denoiser.mask_of(ids))[1].item()


def test_words_are_known_by_their_neighbours(
    studio: Studio, gallery: Gallery, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(denoiser, "LAYERS", 1)
    torch.manual_seed(0)
    teacher = Teacher(studio)
    before = neighbours_missed(teacher, gallery)
    teacher.learn_language([gallery])
    assert neighbours_missed(teacher, gallery) < 0.9 * before


def test_what_is_taken_over_is_what_was_saved(studio: Studio, gallery: Gallery) -> None:
    teacher, again = Teacher(studio), Teacher(studio)
    for each in (teacher, again):
        each.take_over(locate("mini"))
    noised = torch.randn(4, denoiser.LATENT_CHANNELS, 4, 4, generator=torch.Generator().manual_seed(0))
    ids, timesteps = gallery.ids[:, 0].long(), torch.full((4,), 300)
    pictures = [each.take_noise_out(noised, ids, timesteps) for each in (teacher, again)]
    assert torch.equal(*pictures)
    assert pictures[0].std() > 0.1
    assert not torch.allclose(pictures[0], Teacher(studio).take_noise_out(noised, ids, timesteps))


def test_a_model_of_another_size_is_refused(studio: Studio, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(denoiser, "LAYERS", 1)
    with pytest.raises(PixartError, match="another size") as caught:
        Teacher(studio).take_over(locate("mini"))
    assert caught.value.code == "weights-invalid"
