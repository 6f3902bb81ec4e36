"""`--init-image`: the picture that a new one starts from, as a request and a record name it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from pixart_cli.core.errors import PixartError

if TYPE_CHECKING:
    from pixart_cli.core.catalog import ModelSpec

USUAL_STRENGTH: Final = 0.6
_SHA256: Final = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, kw_only=True)
class Parent:
    """The picture that another was made from: its file's sha256, and its fingerprint if it is one of ours."""

    sha256: str
    fingerprint: str | None = None

    def to_dict(self) -> dict[str, Any]:
        """JSON data without what is not known."""
        return {"sha256": self.sha256} | ({"fingerprint": self.fingerprint} if self.fingerprint else {})

    @classmethod
    def from_dict(cls, values: Any) -> Parent:
        """The inverse of :meth:`to_dict`.

        Raises:
            ValueError: when `values` is no such data.
        """
        known = {"sha256", "fingerprint"}
        if not isinstance(values, dict) or "sha256" not in values or not values.keys() <= known:
            raise ValueError("not a parent")
        if not all(isinstance(value, str) and _SHA256.fullmatch(value) for value in values.values()):
            raise ValueError("not a hash")
        return cls(**values)


def strength_of(typed: float | None, parent: Parent | None, spec: ModelSpec) -> float:
    """The strength of a request; the usual one where none was `typed`.

    Raises:
        PixartError: "usage" for a strength without a picture, "request-invalid" for a model that only ever
            starts from noise.
    """
    if parent is None:
        if typed is not None:
            what = "--strength says how much of an init image is drawn anew; there is none"
            raise PixartError("usage", what, "Name the picture with --init-image.")
        return 1.0
    check_init_image_of(spec)
    return USUAL_STRENGTH if typed is None else typed


def check_init_image_of(spec: ModelSpec) -> None:
    """Refuse an init image for a model that knows one timestep alone, that of noise.

    Raises:
        PixartError: "request-invalid".
    """
    if spec.timesteps:
        what = f"{spec.name} cannot start from an init image: it draws in one step, from noise alone"
        raise PixartError("request-invalid", what, "Choose another model.")


def check_init_image(value: str, source: str) -> None:
    """Refuse what is no sha256 in hex.

    Raises:
        PixartError: "request-invalid" naming `source`.
    """
    if value and not _SHA256.fullmatch(value):
        what = f"{source}: init_image cannot be {value[:80]!r}"
        raise PixartError("request-invalid", what, "Expected the sha256 of a picture's file, in hex.")
