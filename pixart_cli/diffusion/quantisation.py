"""The text encoder with weights in 8 or 4 bits: an approximation that is whole on the device.

bitsandbytes, through transformers: LLM.int8 (Dettmers et al. 2022, arXiv 2208.07339) or the normal floats of
QLoRA (Dettmers et al. 2023, arXiv 2305.14314). transformers leaves T5's output projections `wo` and its table
of words as they are: a quarter of all weights. Imports neither library until asked.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any, Final

from pixart_cli.core.encoder_bits import UNQUANTISED
from pixart_cli.core.errors import PixartError
from pixart_cli.core.hub_code import refuse_hub_code

if TYPE_CHECKING:
    import torch
    from transformers.models.t5.configuration_t5 import T5Config
    from transformers.models.t5.modeling_t5 import T5EncoderModel

LIBRARY: Final = "bitsandbytes"
OLDEST: Final = (0, 50)
_INSTALL: Final = "Install it with pip install 'pixart-cli[quant]', or leave --encoder-bits out."
# Normal floats share a scale by 64, and the kernels take as many rows and columns at once.
_GRAIN: Final = 64


def check_library(bits: int) -> None:
    """Refuse `bits` that need a library which is not installed, or is too old.

    Raises:
        PixartError: "extra-missing".
    """
    if bits == UNQUANTISED:
        return
    try:
        found = version(LIBRARY)
    except PackageNotFoundError:
        what = f"--encoder-bits {bits} needs {LIBRARY}, which is not installed"
        raise PixartError("extra-missing", what, _INSTALL) from None
    if tuple(map(int, re.findall(r"\d+", found)[:2])) < OLDEST:
        wanted = ".".join(map(str, OLDEST))
        what = f"--encoder-bits {bits} needs {LIBRARY} {wanted} or newer; {found} is installed"
        raise PixartError("extra-missing", what, _INSTALL)


def check_device(bits: int, device: str) -> None:
    """Refuse `bits` on a `device` that the library has no kernels for.

    Raises:
        PixartError: "request-invalid".
    """
    if bits != UNQUANTISED and device == "mps":
        what = f"--encoder-bits {bits} cannot be used on mps: {LIBRARY} has no kernels of its own there"
        hint = "Leave it out: an encoder that does not fit passes through the device block by block, exactly."
        raise PixartError("request-invalid", what, hint)


def check_widths(config: T5Config, bits: int) -> None:
    """Refuse an encoder whose layers cannot be cut into what is quantised and multiplied together.

    Raises:
        PixartError: "request-invalid".
    """
    widths = {config.d_model, config.d_ff, config.num_heads * config.d_kv}
    odd = sorted(width for width in widths if width % _GRAIN)
    if odd:
        what = f"--encoder-bits {bits} cannot be used with a text encoder that has layers {odd[0]} wide"
        raise PixartError("request-invalid", what, f"Leave it out: widths have to be multiples of {_GRAIN}.")


def quantised_encoder(
    config: T5Config, state: Mapping[str, torch.Tensor], *, bits: int, dtype: torch.dtype, device: str
) -> T5EncoderModel:
    """The text encoder of `config` and `state` on `device`, its large layers in `bits`, the rest in `dtype`.

    Args:
        state: every tensor by name, on the CPU, in any precision; they are quantised one by one.
        dtype: also what is computed in; LLM.int8 multiplies integers and scales the result.

    Raises:
        PixartError: as :func:`check_widths`; "install-broken" where the library cannot be used.
    """
    check_widths(config, bits)
    refuse_hub_code()
    from transformers.models.t5.modeling_t5 import T5EncoderModel

    with _heard() as said:
        try:
            encoder: T5EncoderModel = T5EncoderModel.from_pretrained(
                None, config=config, state_dict=dict(state), dtype=dtype, device_map={"": device},
                quantization_config=_settings(bits, dtype),
            )  # fmt: skip
        except (ImportError, RuntimeError) as error:
            raise _failure(error, "\n".join(said)) from error
    return encoder.eval()


def _failure(error: ImportError | RuntimeError, report: str) -> Exception:
    """What `error` was: of what fails while weights are quantised transformers keeps a report alone."""
    from pixart_cli.diffusion.memory import is_out_of_memory, says_out_of_memory

    if not is_out_of_memory(error) and says_out_of_memory(report):
        return MemoryError("memory ran out while the text encoder was quantised")
    if is_out_of_memory(error) or LIBRARY not in f"{error}{report}":
        return error
    # A library that is there and cannot be used, as it is built for other drivers, is no bug.
    cause = re.search(r"^\w*Error: .+", report, re.MULTILINE)
    what = f"{LIBRARY} cannot be used: {cause[0] if cause else error}"
    hint = f"Install the {LIBRARY} that fits torch and the driver, or leave --encoder-bits out."
    return PixartError("install-broken", what, hint)


def _settings(bits: int, dtype: torch.dtype) -> Any:
    from transformers.utils.quantization_config import BitsAndBytesConfig

    if bits == 8:
        return BitsAndBytesConfig(load_in_8bit=True)
    return BitsAndBytesConfig(load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_compute_dtype=dtype)


class _Ear(logging.Handler):
    """Keeps what is said."""

    def __init__(self) -> None:
        super().__init__()
        self.said: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        """Keep one message."""
        self.said.append(record.getMessage())


@contextmanager
def _heard() -> Iterator[list[str]]:
    """Within, transformers prints nothing, no bar either; its warnings go into the list."""
    from transformers.utils import logging as of_transformers

    ear, level, bar = _Ear(), of_transformers.get_verbosity(), of_transformers.is_progress_bar_enabled()
    of_transformers.set_verbosity_warning()
    of_transformers.disable_default_handler()
    of_transformers.add_handler(ear)
    of_transformers.disable_progress_bar()
    try:
        yield ear.said
    finally:
        if bar:
            of_transformers.enable_progress_bar()
        of_transformers.remove_handler(ear)
        of_transformers.enable_default_handler()
        of_transformers.set_verbosity(level)
