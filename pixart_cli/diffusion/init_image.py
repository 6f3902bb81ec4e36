"""`--init-image`: a picture's file → sRGB pixels that cover what is to be drawn. No torch here.

Turned as its EXIF says, converted from its own colour profile, laid on white where it is transparent.
"""

from __future__ import annotations

import hashlib
import io
import stat
import struct
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Final

from pixart_cli.core.errors import PixartError
from pixart_cli.core.init_image import Parent
from pixart_cli.core.metadata import fingerprint_in

if TYPE_CHECKING:
    from PIL.Image import Image

    from pixart_cli.diffusion.resample import Floats

FORMATS: Final = ("PNG", "JPEG", "WEBP", "TIFF")
MOST_BYTES: Final = 256 << 20
MOST_PIXELS: Final = 100_000_000
# Pillow's decoders raise all of these for files that are damaged or malicious.
DAMAGED: Final = (
    OSError, ValueError, SyntaxError, EOFError, LookupError, TypeError, OverflowError, struct.error,
)  # fmt: skip
_KINDS: Final = "Name a PNG, JPEG, WebP or TIFF file."


def read_init_image(path: Path) -> tuple[Parent, Image]:
    """The picture at `path` in RGB, and what a record says of it. Its bytes are read once.

    Raises:
        PixartError: "init-image-missing" when there is no such file, "init-image-invalid" when it is no
            picture, damaged, or larger than 256 MiB or 100 million pixels; "disk" when it cannot be read.
    """
    data = _bytes(path)
    picture = _picture(path, data)
    return Parent(sha256=hashlib.sha256(data).hexdigest(), fingerprint=fingerprint_in(path)), picture


def read_recorded_image(sha256: str, path: Path | None) -> Image:
    """The picture whose file has this `sha256`, of which `path` is said to be the place.

    Raises:
        PixartError: "init-image-missing" when it is not known, "init-image-invalid" when it is another, or as
            :func:`read_init_image`.
    """
    if path is None:
        what = f"the init image with the sha256 {sha256} is not at hand"
        raise PixartError("init-image-missing", what, "Name its file with --init-image.")
    parent, picture = read_init_image(path)
    if parent.sha256 != sha256:
        what = f"init image {path}: it is another than the one that was used (its sha256 differs)"
        raise PixartError("init-image-invalid", what, "Name the very file; a copy saved anew is another.")
    return picture


def covering(picture: Image, width: int, height: int) -> Floats:
    """`picture` covering `width` x `height`, cropped least: (height, width, 3) float32 in [0, 1].

    Reduced in linear light, enlarged without ringing (`resample`). What is much larger is brought near the
    size in 8 bits first, so that no more floats than four times the result's are held.
    """
    import numpy as np
    from PIL import Image

    from pixart_cli.diffusion.resample import enlarge, resample

    factor = max(width / picture.width, height / picture.height)
    if factor < 1 / 2:
        near = tuple(-(-side * 2 * factor // 1) for side in picture.size)
        picture = picture.resize((int(near[0]), int(near[1])), Image.Resampling.LANCZOS)
    pixels = np.asarray(picture, np.float32) / np.float32(255)
    if factor > 1:
        return enlarge(pixels, width, height)
    return np.asarray(resample(pixels, width, height)[0], np.float32) / np.float32(255)


def _bytes(path: Path) -> bytes:
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):  # a folder; or a pipe, which could make us wait for ever
            raise _invalid(path, "it is no file")
        if status.st_size > MOST_BYTES:
            raise _invalid(path, f"it is larger than {MOST_BYTES >> 20} MiB", "Save it smaller.")
        return path.read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        what = f"init image {path}: there is no such file"
        raise PixartError("init-image-missing", what, "Check the name.") from None
    except OSError as error:
        what = f"init image {path} cannot be read: {error.strerror or error}"
        raise PixartError("disk", what, "Check the file and its permissions.") from error


class NotAPictureError(ValueError):
    """Bytes that are no picture of a known kind, or a damaged or too large one; `hint` is the way out."""

    def __init__(self, why: str, hint: str = _KINDS) -> None:
        super().__init__(why)
        self.hint = hint


def picture_of(data: bytes) -> Image:
    """The picture that `data`, a file's bytes, holds: upright, RGB in sRGB, on white.

    Raises:
        NotAPictureError: saying why.
    """
    from PIL import Image, UnidentifiedImageError

    kept, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None  # the size is looked at here, before decoding
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of odd EXIF data, which is then not looked at
            with Image.open(io.BytesIO(data), formats=FORMATS) as picture:
                if picture.width * picture.height > MOST_PIXELS:
                    what = f"it is {picture.width}x{picture.height} pixels"
                    raise NotAPictureError(what, f"The most is {MOST_PIXELS // 10**6} million.")
                picture.load()
                return _plain(picture)
    except NotAPictureError:
        raise
    except UnidentifiedImageError:
        raise NotAPictureError("it is no picture of a kind that can be read") from None
    except DAMAGED as error:
        raise NotAPictureError(f"it is damaged ({type(error).__name__}: {str(error)[:80]})") from None
    finally:
        Image.MAX_IMAGE_PIXELS = kept


def _picture(path: Path, data: bytes) -> Image:
    try:
        return picture_of(data)
    except NotAPictureError as error:
        raise _invalid(path, str(error), error.hint) from None


def _plain(picture: Image) -> Image:
    """`picture` upright, in sRGB, on white."""
    from PIL import Image, ImageOps

    upright = ImageOps.exif_transpose(picture)
    alpha = upright.convert("RGBA").getchannel("A") if upright.has_transparency_data else None
    colours = _in_srgb(upright)
    if alpha is None:
        return colours
    return Image.composite(colours, Image.new("RGB", colours.size, "white"), alpha)


def _in_srgb(picture: Image) -> Image:
    """The colours of `picture` in RGB, through its own profile where it has one that can be read."""
    from PIL import ImageCms

    opaque = _opaque(picture)
    profile = picture.info.get("icc_profile")
    if not profile:
        return opaque.convert("RGB")
    try:
        source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        converted = ImageCms.profileToProfile(
            opaque, source, ImageCms.createProfile("sRGB"), outputMode="RGB"
        )
    except (ImageCms.PyCMSError, OSError, ValueError):  # no profile, or not one for these channels
        converted = None
    return opaque.convert("RGB") if converted is None else converted


def _opaque(picture: Image) -> Image:
    """`picture` in 8-bit channels that a colour profile speaks of, without transparency."""
    if picture.mode.startswith("I"):  # 16 bits a channel, which Pillow would cut off instead of scaling
        return picture.convert("I").point(lambda value: value * (1 / 257)).convert("L")
    if picture.mode == "F":
        return picture.point(lambda value: value * 255).convert("L")
    if picture.mode in ("L", "RGB", "CMYK", "LAB"):
        return picture
    return picture.convert("L" if picture.mode in ("1", "LA", "La") else "RGB")


def _invalid(path: Path, why: str, hint: str = _KINDS) -> PixartError:
    return PixartError("init-image-invalid", f"init image {path}: {why}", hint)
