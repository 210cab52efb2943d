"""A clip of an agent at play, with its Q-values drawn beside each frame, as GIF or MP4.

A GIF is written by hand, but for Pillow's LZW: one palette is chosen for the whole clip, a table maps colours to it,
and only what changed since the frame before is stored. That is much faster than quantizing every frame, and smaller.
"""

from __future__ import annotations

import contextlib
import io
import math
import os
import struct
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import chain, islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np
import numpy.typing as npt

from tensorq.errors import TensorqError
from tensorq.extras import extra_command
from tensorq.runs.checkpoint import require_folder, write_atomically, writing_failed

if TYPE_CHECKING:
    from PIL.ImageFont import FreeTypeFont, ImageFont

Pixels = npt.NDArray[np.uint8]
Keys = npt.NDArray[np.uint16]

# Colours that five bits a channel can say exactly: see _keys.
_BACKGROUND = (247, 247, 247)
_RULE = (214, 214, 214)
_TRACK = (231, 231, 231)
_TEXT = (33, 33, 41)
_MUTED = (115, 115, 123)
_BAR = (173, 189, 206)
_CHOSEN_BAR = (90, 181, 231)

_GIF_FRAMES_PER_SECOND = 25  # browsers slow down a GIF whose frames last less than 0.02 s, and 25 look smooth
_SIZE_PIXELS = 600  # about the longer side of the picture, enlarged or reduced by a whole factor
# The panel, in pixels: text can still be read where a page shows the video at two thirds of its size.
_PANEL_WIDTH, _MARGIN, _LINE, _TEXT_SIZE, _ROWS_TOP = 216, 16, 24, 18, 136
_FRAMES_LOOKED_AT = 128  # a GIF's palette is chosen from these; later frames make do with it
_COLOURS = 255
_UNCHANGED = 255  # the palette index that lets the frame before shine through
_LAST_FRAME_SECONDS = 1.0


@dataclass(frozen=True)
class Frame:
    """One picture (uint8, height x width x 3), what the agent thinks of it and does next, and has earned by then.

    Q-values of -inf are of actions that are not legal there.
    """

    image: Pixels
    q_values: npt.NDArray[Any] | None
    action: int | None
    total_return: float
    step: int


def frame_stride(output: Path, fps: int) -> int:
    """Of how many frames to render one (and pass `fps / stride`): a GIF cannot show more than some 25 a second."""
    return max(1, round(fps / _GIF_FRAMES_PER_SECOND)) if output.suffix.lower() == ".gif" else 1


def record(
    frames: Iterable[Frame], output: Path, *, fps: float, plain: bool = False, action_names: Sequence[str] | None = None
) -> Path:
    """Write `frames` to `output` (.gif or .mp4) and return it; `plain` leaves the panel with the Q-values out.

    The file appears under its name only when it is complete. `action_names` label the bars (default: numbers).
    Raises TensorqError for another ending, a folder that does not exist, no frames, frames that differ in size, or an
    MP4 without the video extra.
    """
    suffix = output.suffix.lower()
    if suffix not in (".gif", ".mp4"):
        raise TensorqError(f"cannot write a video to {str(output)!r}: give a file name that ends in .gif or .mp4")
    require_folder(output)
    if fps < 1:
        raise TensorqError(f"expected fps of 1 or more, received {fps}")
    rest = iter(frames)
    first = next(rest, None)
    if first is None:
        raise TensorqError(f"no frames to record in {str(output)!r}: play at least one step")
    scene = _Scene(first, plain, action_names)
    write = _write_gif if suffix == ".gif" else _write_mp4
    try:
        write(chain([first], rest), scene, output, fps)
    except OSError as error:
        raise writing_failed(output, error) from error
    return output


class _Panel:
    """Step, return, the highest Q-value, and for each action how far below it the action's own lies."""

    def __init__(self, names: Sequence[str], height: int) -> None:
        from PIL import Image, ImageDraw

        self.highest, self.largest_gap = 0.0, 0.0
        self.left, self.right = _MARGIN, _PANEL_WIDTH - _MARGIN
        self.row = min((height - _ROWS_TOP - 6) / max(len(names), 1), 48)
        # Bars lie under the text where there is room, and behind it where there is not.
        self.text_top, self.bar = (0.0, (24.0, 33.0)) if self.row >= 36 else (-2.0, (0.0, self.row - 1))
        self.font = _font(_TEXT_SIZE)
        self.row_font = _font(min(_TEXT_SIZE, self.row - 1))
        width = self.right - self.left - self.row_font.getlength("-0.0000 ")
        self.names = [_cut(name, self.row_font, width) for name in names]
        self.base = Image.new("RGB", (_PANEL_WIDTH, height), _BACKGROUND)
        draw = ImageDraw.Draw(self.base)
        draw.rectangle((0, 0, 0, height), fill=_RULE)
        for line, text in enumerate(("step", "return", *(("highest Q",) if names else ()))):
            draw.text((self.left, 10 + line * _LINE), text, _MUTED, self.font)
        if names:
            for line, text in enumerate(("Q minus the highest Q;", "bars: square-root scale")):
                draw.text((self.left, 91 + line * 18), text, _MUTED, _font(15))
        for index in range(len(names)):
            top = _ROWS_TOP + index * self.row
            draw.rectangle((self.left, top + self.bar[0], self.right, top + self.bar[1] - 1), fill=_TRACK)

    def see(self, q_values: npt.NDArray[Any] | None) -> None:
        """Widen the scale of the bars and the numbers to these values; neither shrinks, so that nothing jumps."""
        if q_values is not None and (finite := q_values[np.isfinite(q_values)]).size:
            self.highest = max(self.highest, abs(float(finite.max())))
            self.largest_gap = max(self.largest_gap, float(np.ptp(finite)))

    def draw(self, frame: Frame) -> Pixels:
        """The strip for one frame."""
        from PIL import ImageDraw

        self.see(frame.q_values)
        image = self.base.copy()
        draw = ImageDraw.Draw(image)
        q_values = [] if frame.q_values is None else [float(value) for value in frame.q_values][: len(self.names)]
        best = max(filter(math.isfinite, q_values), default=math.nan)
        texts = [str(frame.step), f"{round(frame.total_return, 2):.10g}"]
        texts += [_number(best, self.highest)] if q_values else []
        for line, text in enumerate(texts):
            draw.text((self.right, 10 + line * _LINE), text, _TEXT, self.font, anchor="ra")
        for index, value in enumerate(q_values):
            top, chosen = _ROWS_TOP + index * self.row, index == frame.action
            if math.isfinite(value):
                # The root shows small gaps beside large ones: a hundredth of the largest takes a tenth of the bar.
                share = 1.0 - ((best - value) / self.largest_gap) ** 0.5 if self.largest_gap else 1.0
                end = self.left + round((0.04 + 0.96 * share) * (self.right - self.left))
                fill = _CHOSEN_BAR if chosen else _BAR
                draw.rectangle((self.left, top + self.bar[0], end, top + self.bar[1] - 1), fill=fill)
            colour = _TEXT if chosen or self.bar[0] == 0 else _MUTED
            below = _number(value - best, self.largest_gap)
            draw.text((self.left, top + self.text_top), self.names[index], colour, self.row_font)
            draw.text((self.right, top + self.text_top), below, colour, self.row_font, anchor="ra")
        return np.asarray(image)


def _number(value: float, largest: float) -> str:
    """A number with the decimals that show four digits of the largest of its kind; "-" for an illegal action's."""
    if value == -math.inf:
        return "-"
    decimals = min(max(3 - math.floor(math.log10(largest)), 0), 6) if largest else 0
    return f"{value:.{decimals}f}" if value and abs(value) < 1e5 else f"{value:.3g}"


class _Scene:
    """Where things go in the video: the frame, brought to a handy size, and the panel on its right."""

    def __init__(self, first: Frame, plain: bool, action_names: Sequence[str] | None) -> None:
        shape = first.image.shape
        if len(shape) != 3 or shape[2] != 3 or 0 in shape or first.image.dtype != np.uint8:
            raise TensorqError(
                f"expected uint8 frames of shape (height, width, 3), received {first.image.dtype} {shape}"
            )
        self.frame_shape, longest = shape, max(shape[:2])
        self.shrink, self.grow = max(1, round(longest / _SIZE_PIXELS)), max(1, _SIZE_PIXELS // longest)
        height, width = self.resized(first).shape[:2]
        count = 0 if first.q_values is None else len(first.q_values)
        names = [*(action_names or ())][:count]
        names += [str(index) for index in range(len(names), count)]
        # As high as the panel needs, or at least, where there are many actions, can do with.
        least_height = 0 if plain else _ROWS_TOP + 6 + max(14 * count, min(40 * count, 180))
        # Even sizes, because H.264 halves the colour planes.
        self.height, self.width = (side + side % 2 for side in (max(height, least_height), width))
        self.top = (self.height - height) // 2
        self.panel = None if plain else _Panel(names, self.height)
        self.size = self.width + (0 if self.panel is None else self.panel.base.width), self.height

    def resized(self, frame: Frame) -> Pixels:
        """The frame's picture at its size in the video."""
        from PIL import Image

        if frame.image.shape != self.frame_shape or frame.image.dtype != np.uint8:
            received = f"{frame.image.dtype} {frame.image.shape}"
            raise TensorqError(
                f"expected every frame to be uint8 {self.frame_shape} like the first, received {received}"
            )
        if self.shrink > 1:
            return np.asarray(Image.fromarray(frame.image).reduce(self.shrink))
        return frame.image.repeat(self.grow, axis=0).repeat(self.grow, axis=1) if self.grow > 1 else frame.image

    def place(self, canvas: npt.NDArray[Any], picture: npt.NDArray[Any], panel: npt.NDArray[Any] | None) -> None:
        """Put picture and panel (of colours or of palette keys) where they belong."""
        canvas[self.top : self.top + picture.shape[0], : picture.shape[1]] = picture
        if panel is not None:
            canvas[:, self.width :] = panel


def _font(size: float) -> FreeTypeFont | ImageFont:
    from PIL import ImageFont

    return ImageFont.load_default(size)


def _cut(text: str, font: FreeTypeFont | ImageFont, width: float) -> str:
    """The text, without the end that is wider than this."""
    return next(text[:end] for end in range(len(text), -1, -1) if font.getlength(text[:end]) <= width or end == 0)


def _write_mp4(frames: Iterable[Frame], scene: _Scene, path: Path, fps: float) -> None:
    try:
        import imageio_ffmpeg
    except ImportError:
        raise TensorqError(
            f"writing .mp4 needs the video extra: {extra_command('video')} (a .gif needs nothing)"
        ) from None
    canvas = np.full((scene.size[1], scene.size[0], 3), _BACKGROUND, np.uint8)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")  # a name that the run folder clears away
    try:
        writer = imageio_ffmpeg.write_frames(
            str(temporary), scene.size, fps=fps, quality=7, macro_block_size=2, ffmpeg_log_level="error",
            output_params=["-movflags", "+faststart", "-f", "mp4"],
        )  # fmt: skip
        writer.send(None)
        try:
            for frame in frames:
                panel = None
                if scene.panel is not None:
                    scene.panel.see(frame.q_values)
                    panel = scene.panel.draw(frame)
                scene.place(canvas, scene.resized(frame), panel)
                writer.send(canvas.tobytes())
        finally:
            writer.close()
        os.replace(temporary, path)
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink()


def _write_gif(frames: Iterable[Frame], scene: _Scene, path: Path, fps: float) -> None:
    source = ((_keys(scene.resized(frame)), replace(frame, image=_NO_IMAGE)) for frame in frames)
    head = list(islice(source, _FRAMES_LOOKED_AT))
    canvas = np.full(scene.size[::-1], _keys(np.array([[_BACKGROUND]], np.uint8)), np.uint16)
    counts, always = np.zeros(_KEYS, np.int64), np.zeros(_KEYS, np.int64)
    for keys, _ in head:
        counts += np.bincount(keys.ravel(), minlength=_KEYS)
    if scene.panel is not None:
        for _, frame in head:
            scene.panel.see(frame.q_values)
        for _, frame in (head[0], head[-1]):
            always += np.bincount(_keys(scene.panel.draw(frame)).ravel(), minlength=_KEYS)
    palette, table = _choose_palette(always, counts)
    file = io.BytesIO()
    gif = _GifFile(file, scene.size, palette)
    for keys, frame in chain(head, source):
        scene.place(canvas, keys, None if scene.panel is None else _keys(scene.panel.draw(frame)))
        gif.add(table.take(canvas), 1.0 / fps)
    gif.close()
    write_atomically(path, file.getvalue())


_KEYS = 1 << 15
_NO_IMAGE: Pixels = np.empty((0, 0, 3), np.uint8)


def _keys(image: Pixels) -> Keys:
    """Colours with five bits a channel, as one number: few enough for a table that maps each to the palette."""
    five_bits = image >> 3
    keys: Keys = five_bits[..., 0].astype(np.uint16)
    for channel in (1, 2):  # in place: every picture comes through here
        keys <<= 5
        keys |= five_bits[..., channel]
    return keys


def _choose_palette(always: npt.NDArray[np.int64], counts: npt.NDArray[np.int64]) -> tuple[Pixels, Pixels]:
    """At most 255 colours, and for every key the nearest of them; `always` are keys that must be among them."""
    from PIL import Image

    everything = np.arange(_KEYS)
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


class _GifFile:
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
