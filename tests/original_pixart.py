"""PixArt as its authors define it, written down again in plain functions, with random weights of their names.

An independent reference for `models convert`: no class of diffusers and no code of this package is used.
Sources: arXiv 2310.00426 and 2403.04692; PixArt-sigma `diffusion/model/nets`, read for what the papers leave
open: the order of qkv and kv, which norms have which eps, cosines before sines of timesteps, sines before
cosines of positions, columns before rows.
"""

# ruff: noqa: N803, N806 -- B, H, W and R are the papers' names

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F


@dataclass(frozen=True, kw_only=True)
class Original:
    """One network of the authors. `compression`: (sampling, R, layers); `input_size` in latent pixels."""

    depth: int = 4
    width: int = 48
    heads: int = 4
    caption_channels: int = 20
    caption_tokens: int = 300
    in_channels: int = 4
    out_channels: int = 8
    input_size: int = 64
    scale: float = 1.0
    micro: bool = False
    qk_norm: bool = False
    compression: tuple[str, int, tuple[int, ...]] | None = None

    def state_dict(self, seed: int = 0, *, spread: float = 1.0) -> dict[str, Tensor]:
        """Random weights by the authors' names; norms and convolutions are random, too."""
        generator = torch.Generator().manual_seed(seed)
        state = {}
        for name, shape in self.shapes().items():
            fan = math.prod(shape[1:]) if len(shape) > 1 else 4
            state[name] = spread * torch.randn(shape, generator=generator) / math.sqrt(fan)
            if "norm.weight" in name:
                state[name] += 1
        side = self.input_size // 2
        state["pos_embed"] = positions(side, side, self.width, side, self.scale)[None].float()
        state["y_embedder.y_embedding"] = torch.randn(
            self.caption_tokens, self.caption_channels, generator=generator
        )
        return state

    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Every learned tensor."""
        C, third = self.width, self.width // 3
        shapes: dict[str, tuple[int, ...]] = {}

        def linear(name: str, rows: int, columns: int) -> None:
            shapes[f"{name}.weight"], shapes[f"{name}.bias"] = (rows, columns), (rows,)

        shapes["x_embedder.proj.weight"] = (C, self.in_channels, 2, 2)
        shapes["x_embedder.proj.bias"] = (C,)
        linear("t_embedder.mlp.0", C, 256)
        linear("t_embedder.mlp.2", C, C)
        for name in ("csize_embedder", "ar_embedder") if self.micro else ():
            linear(f"{name}.mlp.0", third, 256)
            linear(f"{name}.mlp.2", third, third)
        linear("t_block.1", 6 * C, C)
        linear("y_embedder.y_proj.fc1", C, self.caption_channels)
        linear("y_embedder.y_proj.fc2", C, C)
        for layer in range(self.depth):
            block = f"blocks.{layer}"
            shapes[f"{block}.scale_shift_table"] = (6, C)
            linear(f"{block}.attn.qkv", 3 * C, C)
            linear(f"{block}.attn.proj", C, C)
            linear(f"{block}.cross_attn.q_linear", C, C)
            linear(f"{block}.cross_attn.kv_linear", 2 * C, C)
            linear(f"{block}.cross_attn.proj", C, C)
            linear(f"{block}.mlp.fc1", 4 * C, C)
            linear(f"{block}.mlp.fc2", C, 4 * C)
            norms = ["q_norm", "k_norm"] if self.qk_norm else []
            if self._ratio(layer) > 1 and self.compression[0] == "conv":
                R = self._ratio(layer)
                shapes[f"{block}.attn.sr.weight"], shapes[f"{block}.attn.sr.bias"] = (C, 1, R, R), (C,)
                norms.append("norm")
            for norm in norms:
                shapes[f"{block}.attn.{norm}.weight"] = shapes[f"{block}.attn.{norm}.bias"] = (C,)
        linear("final_layer.linear", 4 * self.out_channels, C)
        shapes["final_layer.scale_shift_table"] = (2, C)
        return shapes

    def _ratio(self, layer: int) -> int:
        return self.compression[1] if self.compression and layer in self.compression[2] else 1

    def forward(
        self,
        state: dict[str, Tensor],
        latents: Tensor,
        timesteps: Tensor,
        captions: Tensor,
        mask: Tensor,
        *,
        img_hw: Tensor | None = None,
        aspect_ratio: Tensor | None = None,
    ) -> Tensor:
        """Latents (B, C, h, w), captions (B, L, caption_channels), mask (B, L) of 0, 1 → (B, out, h, w)."""
        net = Weights(state)
        B, _, height, width = latents.shape
        H, W = height // 2, width // 2
        x = F.conv2d(latents, state["x_embedder.proj.weight"], state["x_embedder.proj.bias"], stride=2)
        x = x.flatten(2).mT
        x = x + positions(H, W, self.width, self.input_size // 2, self.scale).float()
        t = net.embed("t_embedder", timesteps)
        if self.micro:
            sizes = [net.embed("csize_embedder", img_hw[:, i]) for i in (0, 1)]
            t = t + torch.cat([*sizes, net.embed("ar_embedder", aspect_ratio[:, 0])], dim=1)
        modulation = net.linear("t_block.1", F.silu(t)).reshape(B, 6, self.width)
        y = net.mlp("y_embedder.y_proj", captions)
        # The words of all prompts one after the other; each picture sees its own, and no padding.
        prompts = [y[b][mask[b] != 0] for b in range(B)]
        for layer in range(self.depth):
            x = self._block(net, f"blocks.{layer}", layer, x, prompts, modulation, (H, W))
        shift, scale = (state["final_layer.scale_shift_table"] + t[:, None]).split(1, dim=1)
        x = net.linear("final_layer.linear", plain_norm(x) * (1 + scale) + shift)
        # Each token is a patch, (row, column, channel).
        x = x.reshape(B, H, W, 2, 2, self.out_channels).permute(0, 5, 1, 3, 2, 4)
        return x.reshape(B, self.out_channels, 2 * H, 2 * W)

    def _block(
        self, net: Weights, block: str, layer: int, x: Tensor, prompts: list[Tensor], t: Tensor, grid: Any
    ) -> Tensor:
        table = net.state[f"{block}.scale_shift_table"] + t
        shift_a, scale_a, gate_a, shift_m, scale_m, gate_m = table.split(1, dim=1)
        attended = self._self_attention(
            net, f"{block}.attn", layer, plain_norm(x) * (1 + scale_a) + shift_a, grid
        )
        x = x + gate_a * attended
        x = x + torch.stack([self._cross(net, f"{block}.cross_attn", x[b], y) for b, y in enumerate(prompts)])
        return x + gate_m * net.mlp(f"{block}.mlp", plain_norm(x) * (1 + scale_m) + shift_m)

    def _cross(self, net: Weights, name: str, x: Tensor, y: Tensor) -> Tensor:
        kv = net.linear(f"{name}.kv_linear", y)
        k, v = kv[:, : self.width], kv[:, self.width :]
        return net.linear(f"{name}.proj", self._attend(net.linear(f"{name}.q_linear", x), k, v))

    def _self_attention(self, net: Weights, name: str, layer: int, x: Tensor, grid: Any) -> Tensor:
        q, k, v = net.linear(f"{name}.qkv", x).split(self.width, dim=2)
        if self.qk_norm:
            q, k = net.norm(f"{name}.q_norm", q), net.norm(f"{name}.k_norm", k)
        if self._ratio(layer) > 1:
            k, v = (self._compress(net, name, self._ratio(layer), each, grid) for each in (k, v))
        return net.linear(
            f"{name}.proj", torch.stack([self._attend(*each) for each in zip(q, k, v, strict=True)])
        )

    def _compress(self, net: Weights, name: str, R: int, x: Tensor, grid: tuple[int, int]) -> Tensor:
        H, W = grid
        sampling = self.compression[0]
        if sampling == "uniform_every":
            return x[:, torch.arange(0, H * W, R)]
        rows = x.reshape(len(x), H, W, self.width)
        if sampling in ("uniform", "ave"):  # nearest neighbour and stride pick the same, but for the rest
            rows = rows[:, : H // R * R : R, : W // R * R : R] if sampling == "ave" else rows[:, ::R, ::R]
            return rows.flatten(1, 2)
        weight, bias = net.state[f"{name}.sr.weight"], net.state[f"{name}.sr.bias"]
        windows = torch.zeros(len(x), H // R, W // R, self.width) + bias
        for i in range(R):
            for j in range(R):
                each = rows[:, i : H // R * R : R, j : W // R * R : R]
                windows = windows + each * weight[:, 0, i, j]
        return net.norm(f"{name}.norm", windows.flatten(1, 2))

    def _attend(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """Softmax attention of (N, C) to (M, C), per head."""
        q, k, v = (each.reshape(len(each), self.heads, -1).transpose(0, 1) for each in (q, k, v))
        scores = q @ k.mT / math.sqrt(self.width / self.heads)
        return (scores.softmax(dim=-1) @ v).transpose(0, 1).reshape(q.shape[1], self.width)


@dataclass
class Weights:
    """Layers by the names of their weights."""

    state: dict[str, Tensor]

    def linear(self, name: str, x: Tensor) -> Tensor:
        return x @ self.state[f"{name}.weight"].mT + self.state[f"{name}.bias"]

    def norm(self, name: str, x: Tensor) -> Tensor:
        """Over the whole width, with PyTorch's own eps."""
        return normed(x, 1e-5) * self.state[f"{name}.weight"] + self.state[f"{name}.bias"]

    def mlp(self, name: str, x: Tensor) -> Tensor:
        return self.linear(f"{name}.fc2", gelu(self.linear(f"{name}.fc1", x)))

    def embed(self, name: str, numbers: Tensor) -> Tensor:
        """Numbers (B,) → (B, D): 128 cosines, 128 sines, two layers."""
        frequencies = torch.exp(-math.log(10000) * torch.arange(128, dtype=torch.float32) / 128)
        angles = numbers.float()[:, None] * frequencies
        waves = torch.cat([angles.cos(), angles.sin()], dim=1)
        return self.linear(f"{name}.mlp.2", F.silu(self.linear(f"{name}.mlp.0", waves)))


def gelu(x: Tensor) -> Tensor:
    """Hendrycks and Gimpel's tanh approximation."""
    return 0.5 * x * (1 + torch.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))


def normed(x: Tensor, eps: float) -> Tensor:
    centred = x - x.mean(dim=-1, keepdim=True)
    return centred / torch.sqrt((centred**2).mean(dim=-1, keepdim=True) + eps)


def plain_norm(x: Tensor) -> Tensor:
    return normed(x, 1e-6)


def positions(H: int, W: int, width: int, base: int, scale: float) -> Tensor:
    """(H W, width): the column's sines and cosines, then the row's, in float64."""
    omega = 1 / 10000 ** (torch.arange(width // 4, dtype=torch.float64) / (width // 4))
    rows = torch.arange(H, dtype=torch.float32) / (H / base) / scale
    columns = torch.arange(W, dtype=torch.float32) / (W / base) / scale
    found = []
    for row in rows:
        for column in columns:
            parts = [column * omega, row * omega]
            found.append(torch.cat([wave for part in parts for wave in (part.sin(), part.cos())]))
    return torch.stack(found)
