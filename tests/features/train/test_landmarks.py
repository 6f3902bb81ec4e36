"""Landmarks: the same as what is drawn, told by the right tokens, and learnable."""

from random import Random

import numpy as np
import pytest
import torch
from torch import nn

from pixart_cli.diffusion.posters.canvas import Canvas, Sketch
from pixart_cli.diffusion.posters.draw import compose, draw
from pixart_cli.diffusion.posters.scene import Group, Landscape, Shapes, Stripes, sample_scene
from pixart_cli.diffusion.posters.seeing import skyline, to_lab
from pixart_cli.diffusion.posters.vocabulary import THINGS
from pixart_cli.features.train.landmarks import CHANNELS, LandmarkHead, landmarks, token_map

CIRCLE = Shapes(background="white", groups=(Group(kind="circle", count=1, colour="red", place="left"),))
FIRST = len(THINGS)


def test_a_sketch_places_what_a_picture_shows() -> None:
    rng = Random(3)
    for seed in range(40):
        scene = sample_scene(rng)
        sketch, canvas = (compose(paper, scene, 96, 64, seed=seed) for paper in (Sketch, Canvas))
        assert sketch.placed == canvas.placed
        assert sketch.ridges == canvas.ridges


def test_the_thing_is_where_its_pixels_are() -> None:
    found = landmarks(CIRCLE, 256, 128, 5).things
    pixels = np.asarray(draw(CIRCLE, 256, 128, seed=5)).astype(int)
    ys, xs = np.nonzero((pixels[..., 0] > 150) & (pixels[..., 2] < 120))
    assert found.shape == (1, 4)
    kind, x, y, radius = found[0]
    assert THINGS[int(kind)] == "circle"
    assert (x * 16, y * 16) == (pytest.approx(xs.mean(), abs=1), pytest.approx(ys.mean(), abs=1))
    assert radius * 32 == pytest.approx(np.ptp(xs) + 1, rel=0.03)


def test_tokens_point_to_the_middle_of_their_thing() -> None:
    marks = landmarks(CIRCLE, 256, 128, 5)
    said, counts = token_map(marks, 8, 16)
    _, x, y, radius = marks.things[0]
    member = said[THINGS.index("circle")] > 0
    rows, columns = np.nonzero(member)
    assert member.sum() == pytest.approx(np.pi * (radius + 0.5) ** 2, rel=0.2)
    assert columns + 0.5 + 4.0 * said[FIRST][member] == pytest.approx(np.full(len(columns), x), abs=1e-4)
    assert rows + 0.5 + 4.0 * said[FIRST + 1][member] == pytest.approx(np.full(len(rows), y), abs=1e-4)
    assert said[FIRST + 2][member] == pytest.approx(radius / 2.0)
    assert counts[FIRST, :, -1].max() == 0  # far from everything: nothing is asked of its direction
    assert said[:FIRST].sum() == member.sum()


@pytest.mark.parametrize("land", ["mountains", "hills", "dunes", "sea", "forest", "city"])
def test_the_skyline_is_the_one_of_the_picture(land: str) -> None:
    scene = Landscape(sky="yellow", land=land, land_colour="navy")
    marks = landmarks(scene, 256, 256, 9)
    seen = skyline(to_lab(draw(scene, 256, 256, seed=9)))[8::16] * 16
    assert np.median(np.abs(marks.ridges[0] - seen)) < 0.35
    said, _ = token_map(marks, 16, 16)
    assert (said[FIRST + 3, 0] > 0).all()
    assert (said[FIRST + 3, -1] < 0).all()


def test_stripes_have_no_landmarks() -> None:
    said, counts = token_map(
        landmarks(Stripes(first="red", second="white", direction="diagonal"), 64, 64, 0), 4, 4
    )
    assert not said.any()
    assert counts[:FIRST].all()
    assert not counts[FIRST:].any()


def test_a_head_learns_what_its_block_can_know() -> None:
    torch.manual_seed(0)
    maps = token_map(landmarks(CIRCLE, 96, 64, 1), 4, 6)
    said, counts = (torch.from_numpy(each).flatten(1).T[None] for each in maps)
    block, head = nn.Embedding(24, 32), LandmarkHead(32)
    head.watch(block)
    optimizer = torch.optim.Adam([*block.parameters(), *head.parameters()], lr=1e-2)
    losses = []
    for _ in range(60):
        block(torch.arange(24)[None])
        loss = head.loss(said, counts)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.1 * losses[0]


def test_without_landmarks_the_loss_is_nothing_but_has_gradients() -> None:
    block, head, none = nn.Embedding(4, 8), LandmarkHead(8), torch.zeros(1, 0, CHANNELS)
    head.watch(block)
    block(torch.arange(4)[None])
    loss = head.loss(none, none)
    loss.backward()
    assert loss.item() == 0
    assert all(p.grad is not None and not p.grad.any() for p in (*block.parameters(), *head.parameters()))
    with pytest.raises(RuntimeError, match="watched"):
        head.loss(none, none)
