"""Windows over a picture: together they are the picture, alone each is one the network knows."""

import itertools

import pytest
import torch

from pixart_cli.diffusion import schedulers
from pixart_cli.diffusion.forward import Forward
from pixart_cli.diffusion.refine import Refinement, Windows, detail, gaussian, refine, starts
from pixart_cli.diffusion.sampling import micro_conditions
from tests.toy_model import toy_transformer

CONFIG = {"beta_schedule": "linear", "beta_start": 1e-4, "beta_end": 0.02}
NO_CONDITIONS = {"resolution": None, "aspect_ratio": None}


@pytest.fixture(scope="module")
def transformer():
    torch.manual_seed(2)
    return toy_transformer().eval().requires_grad_(requires_grad=False)


def latents(height, width, seed=0):
    return torch.randn(1, 4, height, width, generator=torch.Generator().manual_seed(seed))


def run(
    transformer,
    source,
    *,
    side,
    name="dpm++",
    strength=0.6,
    seed=1,
    flat=0.0,
    embeds=2,
    until=1.0,
    config=CONFIG,
):
    texts = tuple(torch.randn(n, 16, generator=torch.Generator().manual_seed(n)) for n in (3, 5)[:embeds])
    told = []
    result = refine(
        transformer, schedulers.build_tail(name, config, 3, strength), embeds=texts, source=source,
        how=Refinement(side=side, guidance_scale=2.0, guidance_until=until, flat=flat),
        generator=torch.Generator().manual_seed(seed), on_step=lambda done, of: told.append((done, of)),
    )  # fmt: skip
    return result, told


@pytest.mark.parametrize("length", [8, 10, 16, 22, 64, 270])
@pytest.mark.parametrize("shift", [0.0, 0.31, 0.75, 2.99])
def test_windows_cover_a_side_and_overlap(length, shift):
    window = min(16, length)
    places = starts(length, window, shift)
    covered = {at for place in places for at in range(place, place + window)}
    assert covered == set(range(length))
    assert all(place % 2 == 0 for place in places)
    assert all(b - a <= window - 2 for a, b in itertools.pairwise(places))


def test_a_window_larger_than_the_side_is_the_side():
    assert starts(6, 6, 0.4) == [0]


def test_windows_move_between_calls():
    assert starts(270, 32, 0.0) != starts(270, 32, 0.75)


def test_moving_costs_no_further_window():
    for length in range(130, 1024, 2):
        places = [starts(length, 128, shift / 7) for shift in range(7)]
        assert len({len(each) for each in places}) == 1
        assert all(each == sorted(set(each)) for each in places)


def test_weights_fall_evenly_from_the_middle():
    weight = gaussian((8, 12), torch.device("cpu"))
    assert weight.shape == (8, 12)
    assert torch.allclose(weight, weight.flip(0))
    assert torch.allclose(weight, weight.flip(1))
    assert 0 < weight.min() < 0.01 < 0.9 < weight.max() <= 1


def test_one_window_is_the_plain_forward(transformer):
    """A picture of the trained size must come out as if there were no windows."""
    text = torch.randn(5, 16, generator=torch.Generator().manual_seed(0))
    source, noisy, timestep = latents(8, 8), latents(8, 8, seed=1), torch.tensor([200])
    forward = Forward(transformer, [text[:1], text], micro_conditions(transformer, source, torch.float32))
    scheduler = schedulers.build("dpm++", CONFIG, 4)
    windows = Windows(forward, source, Refinement(side=8, guidance_scale=1.0), scheduler)
    expected = forward(noisy, timestep, branches=2)[:, :4]
    assert torch.allclose(windows(noisy, timestep, branches=2), expected, atol=1e-6)


def test_every_place_is_a_mean_of_what_windows_say():
    """With a network that repeats what it sees, the windows put the picture together again."""
    source, noisy = latents(20, 28), latents(20, 28, seed=1)

    def echo(latents, timestep, *, branches):
        return latents.expand(branches, -1, -1, -1) * torch.arange(1, branches + 1).view(-1, 1, 1, 1)

    windows = Windows(
        echo, source, Refinement(side=8, guidance_scale=1.0), schedulers.build("dpm++", CONFIG, 4)
    )
    for _ in range(4):
        out = windows(noisy, torch.tensor([100]), branches=2)
        assert torch.allclose(out[:1], noisy, atol=1e-5)
        assert torch.allclose(out[1:], 2 * noisy, atol=1e-5)


@pytest.mark.parametrize("name", sorted(schedulers.RULES))
def test_every_rule_refines(transformer, name):
    source = latents(12, 16)
    result, told = run(transformer, source, side=8, name=name)
    assert result.shape == source.shape
    assert result.dtype is torch.float32
    assert torch.isfinite(result).all()
    assert told == [(1, 3), (2, 3), (3, 3)]
    assert not torch.allclose(result, source, atol=0.1)


def test_equal_seeds_give_equal_latents(transformer):
    source = latents(12, 16)
    first, again, other = (run(transformer, source, side=8, seed=seed)[0] for seed in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_guidance_ends_where_asked(transformer):
    source = latents(12, 16)
    asked = []

    class Spy(Windows):
        def __call__(self, latents, timestep, *, branches):
            asked.append(branches)
            return super().__call__(latents, timestep, branches=branches)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("pixart_cli.diffusion.refine.Windows", Spy)
        run(transformer, source, side=8, until=0.5)
    assert asked == [2, 1, 1]


def test_detail_is_where_neighbours_differ():
    source = torch.zeros(1, 4, 12, 12)
    source[:, 2, :, 6:] = 1.0
    found = detail(source, 0.5)
    assert found[:, 4:7].all()
    assert not found[:, :4].any()
    assert not found[:, 7:].any()


@pytest.mark.parametrize("kind", ["epsilon", "v_prediction", "sample"])
@pytest.mark.parametrize("name", ["dpm++", "euler", "ddim", "unipc"])
def test_a_flat_picture_comes_back_untouched(transformer, name, kind):
    """No window has detail: what is said in their place must be the source in the rule's own terms."""
    source = torch.full((1, 4, 16, 24), 0.7)
    result, _ = run(
        transformer,
        source,
        side=8,
        flat=0.1,
        name=name,
        strength=0.8,
        config={**CONFIG, "prediction_type": kind},
    )
    assert torch.allclose(result, source, atol=0.02)


def test_only_windows_with_detail_are_computed(transformer):
    source = torch.zeros(1, 4, 32, 32)
    source[:, :, 4:6, 4:6] = 2.0
    calls = []

    def network(latents, timestep, *, branches):
        calls.append(latents.shape)
        return latents.expand(branches, -1, -1, -1)

    scheduler = schedulers.build("dpm++", CONFIG, 4)
    everywhere = Windows(network, source, Refinement(side=8, guidance_scale=1.0), scheduler)
    everywhere(source, torch.tensor([100]), branches=1)
    all_windows = len(calls)
    calls.clear()
    Windows(network, source, Refinement(side=8, guidance_scale=1.0, flat=0.1), scheduler)(
        source, torch.tensor([100]), branches=1
    )
    assert 0 < len(calls) < all_windows / 3
