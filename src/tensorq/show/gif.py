"""GIFs, written by hand but for Pillow's LZW.

One palette is chosen for the whole clip, a table maps colours to it, and only what changed since the frame before is
stored. That is much faster than quantizing every frame, and smaller.
"""

from __future__ import annotations

import struct
from typing import BinaryIO

import numpy as np
import numpy.typing as npt

Pixels = npt.NDArray[np.uint8]
Keys = npt.NDArray[np.uint16]

KEYS = 1 << 15
_COLOURS = 255
_UNCHANGED = 255  # the palette index that lets the frame before shine through
_LAST_FRAME_SECONDS = 1.0


def colour_keys(image: Pixels) -> Keys:
    """Colours with five bits a channel, as one number: few enough for a table that maps each to the palette."""
    five_bits = image >> 3
    keys: Keys = five_bits[..., 0].astype(np.uint16)
    for channel in (1, 2):  # in place: every picture comes through here
        keys <<= 5
        keys |= five_bits[..., channel]
    return keys


def choose_palette(always: npt.NDArray[np.int64], counts: npt.NDArray[np.int64]) -> tuple[Pixels, Pixels]:
    """At most 255 colours, and for every key the nearest of them; `always` are keys that must be among them."""
    from PIL import Image

    everything = np.arange(KEYS)
    five_bits = np.stack([everything >> 10, everything >> 5 & 31, everything & 31], axis=1)
    colours = (five_bits << 3 | five_bits >> 2).astype(np.uint8)
    palette = colours[np.flatnonzero(always)[:_COLOURS]]
    others = np.flatnonzero((counts > 0) & (always == 0))
    room = _COLOURS - len(palette)
    if len(others) > room:
        shares = np.sqrt(counts[others])  # large areas matter more, but must not swallow every colour
        pixels = np.repeat(colours[others], np.ceil(shares * (50_000 / shares.sum())).astype(int), axis=0)
        chosen = Image.fromarray(pixels[None]).quantize(room, Image.Quantize.MEDIANCUT).getpalette() or []
        palette = np.concatenate([palette, np.array(chosen, np.uint8).reshape(-1, 3)[:room]])
    else:
        palette = np.concatenate([palette, colours[others]])
    squares = (palette.astype(np.float32) ** 2).sum(axis=1)
    distances = squares - 2.0 * (colours.astype(np.float32) @ palette.astype(np.float32).T)
    return palette, distances.argmin(axis=1).astype(np.uint8)


class GifFile:
    """GIF89a, endlessly repeated, one palette; each picture only where it differs from the one before."""

    def __init__(self, file: BinaryIO, size: tuple[int, int], palette: Pixels) -> None:
        self.file, self.before = file, np.full(size[::-1], _UNCHANGED, np.uint8)
        self.pending: tuple[Pixels, int, int] | None = None
        self.seconds, self.written_centiseconds = 0.0, 0
        file.write(struct.pack("<6sHHBBB", b"GIF89a", *size, 0xF7, 0, 0))
        file.write(palette.tobytes().ljust(768, b"\0"))
        file.write(b"!\xff\x0bNETSCAPE2.0\x03\x01\0\0\0")

    def add(self, picture: Pixels, seconds: float) -> None:
        """Show a picture for so long; one that equals the one before prolongs it."""
        changed = picture != self.before
        rows, columns = (np.flatnonzero(changed.any(axis=axis)) for axis in (1, 0))
        if rows.size:
            self._write_pending()
            box = np.s_[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
            pixels = np.where(changed[box], picture[box], np.uint8(_UNCHANGED))
            self.pending, self.before = (pixels, int(columns[0]), int(rows[0])), picture
        self.seconds += seconds

    def close(self) -> None:
        """Hold the last picture a while, and end the file."""
        self.seconds += _LAST_FRAME_SECONDS
        self._write_pending()
        self.file.write(b";")

    def _write_pending(self) -> None:
        from PIL import Image

        if self.pending is None:
            return
        pixels, left, top = self.pending
        # Times are rounded as they add up: at 30 frames a second pictures last 3, 3 and 4 hundredths, and none is lost.
        delay = round(100 * self.seconds) - self.written_centiseconds
        self.written_centiseconds += delay
        self.file.write(struct.pack("<4sHBB", b"!\xf9\x04\x05", delay, _UNCHANGED, 0))
        self.file.write(struct.pack("<cHHHHBB", b",", left, top, pixels.shape[1], pixels.shape[0], 0, 8))
        self.file.write(Image.fromarray(pixels).tobytes("gif", "L") + b"\0")
