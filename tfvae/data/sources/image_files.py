"""Image files as arrays of bytes; what cannot be kept is refused, or noted."""

import re
import warnings

import numpy as np
from PIL import Image, ImageOps

from tfvae.core.types import InputError, first_line

ENDINGS = tuple(
    ".png .apng .jpg .jpeg .jpe .jfif .jp2 .j2k .j2c .jpc .jpf .jpx .avif .avifs .bmp "
    ".dib .gif .webp .ppm .pgm .pbm .pnm .pfm .tif .tiff .tga .pcx .qoi .sgi .rgb .bw "
    ".ras".split()
)
_GREY_MODES = ("1", "L", "LA", "La")
_WIDE_MODES = ("I", "F")
_KEPT_MODES = (*_GREY_MODES, "RGB", "RGBA", "RGBa", "RGBX", "P", "PA")
_ORIENTATION = 0x0112  # EXIF's tag
_START = 1 << 12  # bytes in which JPEG 2000 and AVIF files say their depth
_SIZ = b"\xff\x4f\xff\x51"  # the markers of a JPEG 2000 codestream's start and sizes
_SIZ_DEPTH = 42  # bytes from there to the depth of the first channel, less 1
_PIXI = re.compile(rb"pixi\x00{4}[\x01-\x04]([\x01-\x40])", re.DOTALL)  # AVIF's depth


def read_image(path: str, notes: set[str]) -> np.ndarray:
    """Returns uint8 [H, W, 1] for a grey image, else [H, W, 3].

    Images are turned as their EXIF orientation says. Transparent ones are put on black,
    and other colours than RGB are made RGB. Animations give their first frame.

    Args:
        path: The file.
        notes: Where it is noted, in words, that one of these was done.

    Raises:
        InputError: if the file cannot be read, has more than 8 bits a channel, or has
            several pages.
    """
    try:
        with warnings.catch_warnings():
            # Pillow warns of images so large that they may be an attack.
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(path) as image:
                _check_depth(image, path)  # decoders cut some to 8 bits
                _check_frames(image, path, notes)
                if image.getexif().get(_ORIENTATION, 1) != 1:
                    notes.add("images turned as their EXIF orientation says")
                image.load()  # turns a TIFF
                return _to_array(ImageOps.exif_transpose(image), notes)
    except InputError:
        raise
    except Exception as error:  # decoders fail in many ways
        raise InputError(
            f"{path} cannot be read as an image ({first_line(error)}); repair or "
            "remove it"
        ) from error


def _check_depth(image: Image.Image, path: str) -> None:
    # Each tile ends with its decoder's arguments: a raw mode, or PPM's largest value.
    tiles = getattr(image, "tile", [])
    given = [t[3] if isinstance(t[3], tuple) else (t[3],) for t in tiles]
    arguments = [argument for each in given for argument in each]
    modes = [a for a in arguments if re.match(r"(RGB|L|CMYK).*;16", str(a))]
    wide = image.mode.startswith(_WIDE_MODES) or bool(modes)
    wide = wide or any(tile[0] == "SGI16" for tile in tiles)
    if image.format == "PPM":
        wide = wide or any(isinstance(a, int) and a > 255 for a in arguments)
    if image.format in ("JPEG2000", "AVIF"):
        with open(path, "rb") as file:
            start = file.read(_START)
        place, said = start.find(_SIZ), _PIXI.search(start)
        wide = wide or (place >= 0 and (start[place + _SIZ_DEPTH] & 0x7F) >= 8)
        wide = wide or (said is not None and said[1][0] > 8)
    if wide:
        mode = modes[0] if modes else image.mode
        raise InputError(
            f"{path} has more than 8 bits a channel (mode {mode}); give 8-bit images, "
            "or floats in a .npz file"
        )


def _check_frames(image: Image.Image, path: str, notes: set[str]) -> None:
    count = getattr(image, "n_frames", 1)
    if count > 1 and image.format == "TIFF":
        raise InputError(
            f"{path} has {count} pages; give a file for each, or remove all but one"
        )
    if count > 1:
        notes.add("the first frame of animated images")


def _to_array(image: Image.Image, notes: set[str]) -> np.ndarray:
    grey = image.mode in _GREY_MODES
    if image.mode not in _KEPT_MODES:
        notes.add(f"{image.mode} images made RGB")
    if image.has_transparency_data:
        notes.add("transparent images put on black")
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "black"), image)
    array = np.asarray(image.convert("L" if grey else "RGB"))
    return array[..., np.newaxis] if grey else array
