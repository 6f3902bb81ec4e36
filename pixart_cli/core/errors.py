"""Every mistake that a person, a disk or a machine can make, with its exit code, in one table.

``docs/errors.md`` is the same table in prose; a test holds the two together both ways.
Only :class:`PixartError` is ever turned into a friendly sentence. Anything else is a bug (exit 1).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True)
class ErrorKind:
    """One row: a stable code for scripts, the exit code it leads to, and when it happens."""

    code: str
    exit_code: int
    when: str


_ROWS: Final = (
    ErrorKind("bug", 1, "anything not foreseen: please report it"),
    ErrorKind("process-lost", 1, "one of several processes that draw together is gone or does not answer"),
    ErrorKind("process-killed", 1, "the process was killed three times while it drew one picture of a batch"),
    ErrorKind("usage", 2, "an option or argument is unknown, missing or malformed"),
    ErrorKind("request-invalid", 2, "a value of the request is outside its range or of the wrong type"),
    ErrorKind("prompt-invalid", 2, "a prompt is empty, too long or not valid text"),
    ErrorKind("prompt-list-invalid", 2, "a line of a prompt list, or of a list it draws from, is wrong"),
    ErrorKind("size-invalid", 2, "a size is unknown, malformed, or too large for this machine"),
    ErrorKind("preset-unknown", 2, "no preset has that name"),
    ErrorKind("preset-invalid", 2, "a preset file holds an unknown key or a wrong value"),
    ErrorKind("config-invalid", 2, "a configuration file or PIXART_* variable is wrong"),
    ErrorKind("model-unknown", 2, "no model of the catalogue has that name, and no folder either"),
    ErrorKind("output-invalid", 2, "the output name or template cannot be used"),
    ErrorKind("output-exists", 2, "a picture of that name exists and --force was not given"),
    ErrorKind("device-unavailable", 2, "the device asked for is not on this machine"),
    ErrorKind("not-in-this-build", 2, "the option is known but this release cannot do it yet"),
    ErrorKind("extra-missing", 2, "the option needs an extra of pixart that is not installed"),
    ErrorKind("cluster-unreachable", 2, "no Ray cluster answers at the address, or it refuses this machine"),
    ErrorKind("cluster-too-small", 2, "no machine of the cluster has room for one worker"),
    ErrorKind("model-missing", 3, "weights are not on this machine, or not whole, and were not fetched"),
    ErrorKind("lora-missing", 3, "a LoRA is not on this machine, or not where it was named"),
    ErrorKind("init-image-missing", 3, "the picture that another starts from is not at hand"),
    ErrorKind("download-failed", 3, "weights could not be fetched from the hub"),
    ErrorKind("weights-invalid", 4, "weights are damaged, unsafe or do not fit the model"),
    ErrorKind("image-invalid", 4, "the file is not a PNG that can be read"),
    ErrorKind(
        "init-image-invalid", 4, "the init image is no picture that can be read, or another than recorded"
    ),
    ErrorKind("metadata-missing", 4, "the picture does not say how it was made"),
    ErrorKind("metadata-invalid", 4, "the picture's own record is damaged or of a newer version"),
    ErrorKind("install-broken", 4, "a library or a file of the installation is missing or damaged"),
    ErrorKind(
        "fleet-mixed", 4, "workers of a cluster have other versions than this machine, or cannot begin"
    ),
    ErrorKind("out-of-memory", 5, "memory ran out after every fallback of the plan"),
    ErrorKind("picture-invalid", 6, "the network produced NaN or a constant picture, twice"),
    ErrorKind("loss-invalid", 6, "training came to a loss or gradient that is no number"),
    ErrorKind("batch-partial", 7, "some pictures failed; the rest exist"),
    ErrorKind("replay-differs", 8, "the picture drawn again is not the same"),
    ErrorKind("disk", 9, "the disk said no: full, read-only, no permission, I/O error"),
    ErrorKind("batch-locked", 10, "another pixart is writing this batch"),
    ErrorKind("interrupted", 130, "Ctrl-C"),
    ErrorKind("terminated", 143, "SIGTERM"),
)

ERRORS: Final = {row.code: row for row in _ROWS}


class PixartError(Exception):
    """A foreseen failure: what happened (`message`) and the way out (`hint`).

    Args:
        code: a code of :data:`ERRORS`; it fixes the exit code.
        message: what happened, as one sentence without a final period.
        hint: what to do about it, as an imperative sentence; may be empty.

    Raises:
        KeyError: if `code` is not in the table.
    """

    def __init__(self, code: str, message: str, hint: str = "") -> None:
        self.kind = ERRORS[code]
        self.message = message
        self.hint = hint
        super().__init__(message)

    @property
    def code(self) -> str:
        """The stable code scripts match on."""
        return self.kind.code

    @property
    def exit_code(self) -> int:
        """The exit code of the process."""
        return self.kind.exit_code


def let_go_of_what_failed(failure: BaseException) -> None:
    """Free what the frames of `failure`, and of what led to it, still hold: networks, where drawing failed.

    Where it happened can still be shown.
    """
    from traceback import clear_frames

    seen: set[int] = set()
    error: BaseException | None = failure
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        clear_frames(error.__traceback__)
        error = error.__cause__ or error.__context__
