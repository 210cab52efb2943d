"""A clip of an agent at play, with its Q-values drawn beside each frame, as GIF or MP4."""

from __future__ import annotations

import contextlib
import io
import math
import shutil
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain, islice
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFont, ImageOps

from tensorq.errors import TensorqError
from tensorq.extras import extra_command
from tensorq.runs.checkpoint import require_folder, write_atomically, writing_failed

_BACKGROUND, _RULE, _TRACK = (247, 247, 247), (214, 214, 214), (231, 231, 231)
_TEXT, _MUTED, _BAR, _CHOSEN_BAR = (33, 33, 41), (115, 115, 123), (173, 189, 206), (90, 181, 231)
_GIF_FRAMES_PER_SECOND = 25  # browsers slow down a GIF whose frames last less than 0.02 s, and 25 look smooth
_SIZE_PIXELS = 600  # about the longer side of the picture, enlarged or reduced by a whole factor
# The panel, in pixels: text can still be read where a page shows the video at two thirds of its size.
_PANEL_WIDTH, _MARGIN, _LINE, _TEXT_SIZE, _ROWS_TOP = 216, 16, 24, 18, 136
_FRAMES_LOOKED_AT = 128  # the panel's scale and a GIF's palette are chosen from these, before the first is drawn
_PALETTE_FRAMES, _COLOURS = 6, 255  # frames that are looked at, and colours that a GIF has beside the transparent one
_LAST_FRAME_MILLISECONDS = 1000


class Frame(NamedTuple):
    """One picture (RGB), what the agent thinks of it and does next, and has earned by then.

    Q-values of -inf are of actions that are not legal there.
    """

    image: Image.Image
    q_values: npt.NDArray[Any]
    action: int | None
    total_return: float
    step: int


def frame_stride(output: Path, fps: int) -> int:
    """Of how many frames to render one (and pass `fps / stride`): a GIF cannot show more than some 25 a second."""
    return max(1, round(fps / _GIF_FRAMES_PER_SECOND)) if output.suffix.lower() == ".gif" else 1


def record(
    frames: Iterable[Frame], output: Path, *, fps: float, plain: bool = False, action_names: Sequence[Any] | None = None
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
    resized = _resized(frames)
    head = list(islice(resized, _FRAMES_LOOKED_AT))
    if not head:
        raise TensorqError(f"no frames to record in {str(output)!r}: play at least one step")
    scene = _Scene(head, plain, action_names or ())
    pictures = map(scene.draw, chain(head, resized))
    try:
        if suffix == ".gif":
            samples = [*head[:: math.ceil(len(head) / _PALETTE_FRAMES)], head[-1]]
            data = _gif(pictures, [scene.draw(frame) for frame in samples], fps)
        else:
            data = _mp4(pictures, scene.size, fps)
        write_atomically(output, data)
    except OSError as error:
        raise writing_failed(output, error) from error
    return output


def _resized(frames: Iterable[Frame]) -> Iterator[Frame]:
    """The frames with their pictures at a handy size; raises TensorqError for one that differs from the first."""
    first = None
    for frame in frames:
        first, longest = first or frame.image.size, max(frame.image.size)
        if frame.image.size != first:
            expected, received = ("{} x {}".format(*size) for size in (first, frame.image.size))
            raise TensorqError(f"expected every frame to have {expected} pixels like the first, received {received}")
        image = frame.image.reduce(max(1, round(longest / _SIZE_PIXELS)))
        enlarged = ImageOps.scale(image, max(1, _SIZE_PIXELS // longest), Image.Resampling.NEAREST)
        yield frame._replace(image=enlarged)


class _Scene:
    """What the video shows: the frame, and beside it the panel.

    The panel tells step, return, highest Q-value and, for each action, how far below it the action's own lies.
    """

    def __init__(self, head: Sequence[Frame], plain: bool, action_names: Sequence[Any]) -> None:
        self.plain = plain
        self.highest, self.largest_gap = 0.0, 0.0
        for frame in head:
            self.see(frame)
        (width, height), count = head[0].image.size, len(head[0].q_values)
        # As high as the panel needs, or at least, where there are many actions, can do with.
        panel_height = max(height, _ROWS_TOP + 6 + max(14 * count, min(40 * count, 180)))
        self.size = (width, height) if plain else (width + _PANEL_WIDTH, panel_height)
        self.left, self.right = width + _MARGIN, width + _PANEL_WIDTH - _MARGIN
        self.row_height = min((panel_height - _ROWS_TOP - 6) // count, 48)
        self.font = ImageFont.load_default(_TEXT_SIZE)
        self.row_font = ImageFont.load_default(min(_TEXT_SIZE, self.row_height - 1))
        room = self.right - self.left - self.row_font.getlength("-0.000000 ")
        names = (*action_names, *range(len(action_names), count))[:count]
        self.names = [_cut(str(name), self.row_font, room) for name in names]
        self.base = Image.new("RGB", self.size, _BACKGROUND)
        if not plain:
            draw = ImageDraw.Draw(self.base)
            draw.line((width, 0, width, panel_height), _RULE)
            for line, text in enumerate(("step", "return", "highest Q")):
                draw.text((self.left, 10 + line * _LINE), text, _MUTED, self.font)
            note = "Q minus the highest Q;\nbars: square-root scale"
            draw.text((self.left, 91), note, _MUTED, ImageFont.load_default(15))

    def see(self, frame: Frame) -> None:
        """Widen the scale of the bars and the numbers to a frame's; neither shrinks, so that nothing jumps."""
        finite = frame.q_values[np.isfinite(frame.q_values)].astype(np.float64)
        if finite.size:
            self.highest = max(self.highest, abs(float(finite.max())))
            self.largest_gap = max(self.largest_gap, float(np.ptp(finite)))

    def draw(self, frame: Frame) -> Image.Image:
        """What the video shows of a frame."""
        canvas = self.base.copy()
        canvas.paste(frame.image, (0, (self.size[1] - frame.image.height) // 2))
        if self.plain:
            return canvas
        self.see(frame)
        draw = ImageDraw.Draw(canvas)
        q_values: list[float] = frame.q_values.tolist()
        best = max(filter(math.isfinite, q_values), default=math.nan)
        texts = str(frame.step), f"{round(frame.total_return, 2):.10g}", _number(best, self.highest)
        for line, text in enumerate(texts):
            draw.text((self.right, 10 + line * _LINE), text, _TEXT, self.font, "ra")
        # Bars lie under the text where there is room, and behind it where there is not.
        under = self.row_height >= 36
        bar_top, bar_bottom, text_middle = (24, 32, 11) if under else (0, self.row_height - 2, self.row_height // 2)
        for index, (name, value) in enumerate(zip(self.names, q_values, strict=True)):
            top, chosen = _ROWS_TOP + index * self.row_height, index == frame.action
            draw.rectangle((self.left, top + bar_top, self.right, top + bar_bottom), _TRACK)
            if math.isfinite(value):
                # The root shows small gaps beside large ones: a hundredth of the largest takes a tenth of the bar.
                share = 1.0 - ((best - value) / self.largest_gap) ** 0.5 if self.largest_gap else 1.0
                end = self.left + round((0.04 + 0.96 * share) * (self.right - self.left))
                draw.rectangle((self.left, top + bar_top, end, top + bar_bottom), _CHOSEN_BAR if chosen else _BAR)
            colour, middle = _MUTED if under and not chosen else _TEXT, top + text_middle
            draw.text((self.left, middle), name, colour, self.row_font, "lm")
            draw.text((self.right, middle), _number(value - best, self.largest_gap), colour, self.row_font, "rm")
        return canvas


def _cut(text: str, font: ImageFont.FreeTypeFont | ImageFont.ImageFont, width: float) -> str:
    """The text, without the end that is wider than this."""
    while text and font.getlength(text) > width:
        text = text[:-1]
    return text


def _number(value: float, largest: float) -> str:
    """A number with the decimals that show four digits of the largest of its kind; "-" for an illegal action's."""
    if value in (0.0, -math.inf):
        return "0" if value == 0.0 else "-"
    decimals = max(3 - math.floor(math.log10(largest)), 0) if largest else 0
    return f"{value:.{decimals}f}" if decimals <= 6 and abs(value) < 1e5 else f"{value:.1e}"


def _gif(pictures: Iterable[Image.Image], samples: Sequence[Image.Image], fps: float) -> bytes:
    """The pictures as a GIF with the samples' colours; Pillow stores what changes from one to the next."""
    # Every other pixel has the colours that there are, and they are found in a quarter of the time.
    pixels = np.concatenate([np.asarray(sample)[::2, ::2] for sample in samples])
    palette = Image.fromarray(pixels).quantize(_COLOURS)
    colours = palette.getpalette() or []
    # Pillow takes the colour that is nearest to the lowest of each four values, so white might become a light grey.
    palette.putpalette([max(value - 2, 0) for value in colours])
    images: list[Image.Image] = []
    for picture in pictures:
        images.append(picture.quantize(palette=palette, dither=Image.Dither.NONE))
        images[-1].putpalette(colours)
    # Times are rounded as they add up: at 30 frames a second pictures last 3, 3 and 4 hundredths, and none is lost.
    milliseconds = 10 * np.diff(np.round(100 * np.arange(len(images) + 1) / fps)).astype(int)
    milliseconds[-1] += _LAST_FRAME_MILLISECONDS
    file = io.BytesIO()
    images[0].save(file, "GIF", save_all=True, append_images=images[1:], duration=milliseconds.tolist(), loop=0)
    return file.getvalue()


def _mp4(pictures: Iterable[Image.Image], size: tuple[int, int], fps: float) -> bytes:
    """The pictures as an MP4."""
    try:
        import imageio_ffmpeg
    except ImportError:
        raise TensorqError(
            f"writing .mp4 needs the video extra: {extra_command('video')} (a .gif needs nothing)"
        ) from None
    even = "pad=ceil(iw/2)*2:ceil(ih/2)*2:color=#{:02x}{:02x}{:02x}".format(*_BACKGROUND)  # H.264 halves colour planes
    # ffmpeg goes back and forth in its file and does not tell whether it could write all of it: so it gets one apart,
    # whose frames are counted.
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        file, sent = Path(folder) / "video.mp4", 0
        try:
            writer = imageio_ffmpeg.write_frames(
                str(file), size, fps=fps, quality=7, macro_block_size=1, ffmpeg_log_level="quiet",
                output_params=["-movflags", "+faststart", "-vf", even],
            )  # fmt: skip
            writer.send(None)
        except Exception as error:  # whatever may be wrong with an ffmpeg
            raise OSError(f"ffmpeg does not start: {' '.join(str(error).split())}; write a .gif") from error
        with contextlib.closing(writer):
            for picture in pictures:
                sent += 1
                try:
                    writer.send(picture.tobytes())
                except OSError:
                    break
        with contextlib.suppress(OSError, RuntimeError):
            if imageio_ffmpeg.count_frames_and_secs(str(file))[0] == sent:
                return file.read_bytes()
        raise OSError(
            f"ffmpeg stopped before the end of the video; {shutil.disk_usage(folder).free:,} bytes are free in "
            f"{file.parent.parent}, where it writes first (TMPDIR sets another folder)"
        )
