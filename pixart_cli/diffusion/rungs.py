"""The ladder from the most memory to the least, and what is done on each rung in words. Decision 15."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from pixart_cli.core.encoder_bits import UNQUANTISED

Rung = tuple[str, str]
"""What becomes of all networks, and of the text encoder."""

WHOLE, STREAMED, TOGETHER = "whole", "streamed", "together"
RUNGS: Final[Sequence[Rung]] = (
    ("full", WHOLE), ("full", STREAMED), ("offload", STREAMED), ("low", STREAMED),
)  # fmt: skip
"""From the most memory to the least."""
PEER_RUNGS: Final[Sequence[Rung]] = (("full", TOGETHER), ("offload", TOGETHER), ("low", TOGETHER))
"""The same for models that are not PixArt's: their text encoders are smaller than what draws."""
IN_BITS: Final[Mapping[int, str]] = {8: "8-bit", 4: "4-bit"}
"""What becomes of a text encoder that is quantised: it is whole, and never streamed."""

_STREAMS: Final = "the text encoder's weights stay on the disk and pass through the device block by block"
_QUANTISED: Final = "the text encoder, its weights in {} bits, comes first and is freed"
_REST: Final = {
    "full": "then all other networks stay on the device",
    "offload": "then each other network is on it only while it works",
    "low": "then the transformer's blocks pass through it; the VAE works on the processor; slow, but it fits",
}
_WORDS: Final = {
    RUNGS[0]: f"the text encoder comes first and is freed, {_REST['full']}",
    RUNGS[1]: f"{_STREAMS}; then all other networks stay on it",
    RUNGS[2]: f"{_STREAMS}; {_REST['offload']}",
    RUNGS[3]: f"{_STREAMS}, as do the transformer's; the VAE works on the processor; slow, but it fits",
    PEER_RUNGS[0]: "all networks stay on the device",
    PEER_RUNGS[1]: "each network is on the device only while it works",
    PEER_RUNGS[2]: "the weights pass through the device block by block; slow, but it fits",
}


def rungs(encoder: str) -> Sequence[Rung]:
    """The ladder that a plan stands on whose text encoder is so."""
    if encoder == TOGETHER:
        return PEER_RUNGS
    return [(offload, encoder) for offload in _REST] if encoder in IN_BITS.values() else RUNGS


def bits_of(encoder: str) -> int:
    """Bits of the weights of a text encoder that is so; 16 where it is not quantised."""
    return next((bits for bits, word in IN_BITS.items() if word == encoder), UNQUANTISED)


def words(rung: Rung) -> str:
    """What is done on `rung` to save memory, for a person."""
    offload, encoder = rung
    bits = bits_of(encoder)
    return _WORDS[rung] if bits == UNQUANTISED else f"{_QUANTISED.format(bits)}, {_REST[offload]}"
