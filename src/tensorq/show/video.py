"""A clip of an agent at play, with its Q-values drawn beside each frame, as GIF or MP4."""

from __future__ import annotations

import contextlib
import io
import math
import shutil
import tempfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import chain, islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from tensorq.errors import TensorqError
from tensorq.extras import extra_command
from tensorq.runs.checkpoint import require_folder, write_atomically, writing_failed

if TYPE_CHECKING:
    from PIL.ImageFont import FreeTypeFont, ImageFont

# Colours that five bits a channel can say exactly, as a GIF stores them.
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
_FRAMES_LOOKED_AT = 128  # a GIF's palette is chosen from some of these; later frames make do with it
_PALETTE_FRAMES, _COLOURS = 6, 255  # frames that are looked at, and colours that a GIF has beside the transparent one
_LAST_FRAME_MILLISECONDS = 1000
Pixels = npt.NDArray[np.uint8]
_NO_IMAGE: Pixels = np.empty((0, 0, 3), np.uint8)


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
        width = self.right - self.left - self.row_font.getlength("-0.000000 ")
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
        if q_values is not None and (finite := q_values[np.isfinite(q_values)].astype(np.float64)).size:
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
    decimals = max(3 - math.floor(math.log10(largest)), 0) if largest else 0
    if not abs(value) < 1e5 or value == 0.0:
        return f"{value:.3g}"
    return f"{value:.{decimals}f}" if decimals <= 6 else f"{value:.1e}"


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
    canvas, sent = np.full((scene.size[1], scene.size[0], 3), _BACKGROUND, np.uint8), 0
    # ffmpeg goes back and forth in its file and does not tell whether it could write all of it: so it gets one apart,
    # whose frames are counted.
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        file = str(Path(folder) / "video.mp4")
        try:
            writer = imageio_ffmpeg.write_frames(
                file, scene.size, fps=fps, quality=7, macro_block_size=2, ffmpeg_log_level="quiet",
                output_params=["-movflags", "+faststart"],
            )  # fmt: skip
            writer.send(None)
        except Exception as error:  # whatever may be wrong with an ffmpeg
            why = " ".join(str(error).split())
            raise TensorqError(f"cannot write {path}: ffmpeg does not start: {why}; write a .gif") from error
        with contextlib.closing(writer):
            for frame in frames:
                panel = None
                if scene.panel is not None:
                    scene.panel.see(frame.q_values)
                    panel = scene.panel.draw(frame)
                scene.place(canvas, scene.resized(frame), panel)
                try:
                    writer.send(canvas.tobytes())
                except OSError as error:
                    raise _ffmpeg_failed(path, folder) from error
                sent += 1
        try:
            complete = imageio_ffmpeg.count_frames_and_secs(file)[0] == sent
        except (OSError, RuntimeError) as error:
            raise _ffmpeg_failed(path, folder) from error
        if not complete:
            raise _ffmpeg_failed(path, folder)
        write_atomically(path, Path(file).read_bytes())


def _ffmpeg_failed(path: Path, folder: str) -> TensorqError:
    free, place = shutil.disk_usage(folder).free, Path(folder).parent
    return TensorqError(
        f"cannot write {path}: ffmpeg stopped before the end of the video; {free:,} bytes are free in {place}, where "
        "it writes first (TMPDIR sets another folder)"
    )


def _write_gif(frames: Iterable[Frame], scene: _Scene, path: Path, fps: float) -> None:
    """One palette for the whole clip, from its first frames; Pillow stores what changes from picture to picture."""
    from PIL import Image

    source = ((scene.resized(frame), replace(frame, image=_NO_IMAGE)) for frame in frames)
    head = list(islice(source, _FRAMES_LOOKED_AT))
    if scene.panel is not None:
        for _, frame in head:
            scene.panel.see(frame.q_values)
    canvas = np.full((*scene.size[::-1], 3), _BACKGROUND, np.uint8)

    def drawn(picture: Pixels, frame: Frame) -> Pixels:
        scene.place(canvas, picture, None if scene.panel is None else scene.panel.draw(frame))
        return canvas

    # Every other pixel of a few pictures has the colours that there are, and they are found in a quarter of the time.
    places = [*range(0, len(head), math.ceil(len(head) / _PALETTE_FRAMES)), len(head) - 1]
    looked_at = np.concatenate([drawn(*head[place])[::2, ::2] for place in places])
    palette = Image.fromarray(looked_at).quantize(_COLOURS)
    images: list[Image.Image] = []
    ends = 0
    for picture, frame in chain(head, source):
        image = Image.fromarray(drawn(picture, frame)).quantize(palette=palette, dither=Image.Dither.NONE)
        # Times are rounded as they add up: at 30 frames a second pictures last 3, 3 and 4 hundredths, and none is lost.
        begins, ends = ends, round(100 * (len(images) + 1) / fps)
        image.info["duration"] = 10 * (ends - begins)
        images.append(image)
    images[-1].info["duration"] += _LAST_FRAME_MILLISECONDS
    file = io.BytesIO()
    images[0].save(file, "GIF", save_all=True, append_images=images[1:], loop=0)
    write_atomically(path, file.getvalue())
