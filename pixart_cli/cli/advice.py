"""What is said of an order before it is drawn: it is possible, but perhaps not what is wanted."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from pixart_cli.cli.output import Printer
from pixart_cli.core.catalog import BUILT_IN
from pixart_cli.core.encoder_bits import UNQUANTISED
from pixart_cli.core.guidance import guided_steps, made_steps
from pixart_cli.core.refine import DIRECT
from pixart_cli.core.settings import Settings

if TYPE_CHECKING:
    from pixart_cli.features.generate import Order

BETTER: Final = "sigma-1024"
MUCH_CUT: Final = 0.1  # part of the picture drawn


def tell_of_loss(printer: Printer, order: Order) -> None:
    """No named size but three screens in a row, and what is wider than 4:1, loses as much."""
    request, drawn = order.jobs[0].request, order.bin
    if drawn.crop > MUCH_CUT and request.refine != DIRECT:
        what = f"{request.width}x{request.height} is cut from a picture of {drawn.width}x{drawn.height}"
        printer.warn(f"{what}: {drawn.crop:.0%} of what is drawn is lost")


def tell_of_few_steps(printer: Printer, order: Order) -> None:
    """A distilled network has guidance in its weights, and steps along one schedule alone."""
    spec, request = order.spec, order.jobs[0].request
    if not spec.distilled:
        return
    if request.guidance_scale > 1:
        doubled = f"{spec.name} has guidance in its weights: {request.guidance_scale:g} on top of it"
        printer.warn(f"{doubled} takes twice the time and burns colours; its own value is 1")
    if request.scheduler != spec.default_scheduler:
        printer.warn(f"{spec.name} was trained for the scheduler {spec.default_scheduler} alone")
    if spec.timesteps and request.num_inference_steps != spec.default_steps:
        printer.warn(f"{spec.name} was trained for --steps {spec.default_steps} alone")


def tell_of_no_guidance(printer: Printer, order: Order, settings: Settings) -> None:
    """Near its end a walk is not guided, and from a picture to start from only its end may be left."""
    request, steps = order.jobs[0].request, order.jobs[0].request.num_inference_steps
    asked = any(settings.origins[key] != "built-in" for key in ("guidance", "negative"))
    made = made_steps(steps, request.strength)
    if not asked or request.guidance_scale <= 1:
        return
    if guided_steps(request.guidance_until, made, skipped=steps - made) == 0:
        what = (
            f"--guidance-until {request.guidance_until:g} of {steps} steps, the last {made} of which are made"
        )
        printer.warn(f"{what}: none is guided, and --guidance and --negative have no effect")


def tell_of_tiny_encoder(printer: Printer, model: str, settings: Settings) -> None:
    """Who wants fewer bits of the built-in model's text encoder gets the picture that it draws anyway."""
    bits = settings.values["encoder_bits"]
    if model == BUILT_IN and bits != UNQUANTISED:
        printer.warn(f"--encoder-bits {bits} is of no use with {model}, whose text encoder is tiny: left out")


def tell_of_no_compiler(printer: Printer, order: Order, settings: Settings) -> None:
    """Other networks are diffusers' own, and are not compiled."""
    if order.spec.is_peer and settings.values["torch_compile"]:
        printer.warn(f"--torch-compile is for PixArt's networks, not for {order.spec.name}: left out")


def tell_of_better(printer: Printer) -> None:
    """Who draws with the built-in model because there is no other is told of the others."""
    printer.hint(
        f"{BUILT_IN}, the built-in model, draws flat posters from words it was taught. PixArt-Σ draws"
        f" anything: pixart models pull {BETTER} says how large the download is, and asks."
    )
