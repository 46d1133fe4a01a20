"""Pictures that move: what changes from frame to frame over a ground that is drawn once, and the file of it."""

from __future__ import annotations

import io
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, final

import numpy as np
from numpy.typing import NDArray

from lossatlas import _checks
from lossatlas._errors import InputError, OutputError
from lossatlas.draw._display import Array
from lossatlas.draw._style import dots, now

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Frame = NDArray[np.uint8]
# Dots per inch where nothing else is said: 650 across a page's width.
DPI = 100.0
# Seconds that an animation or its last frame takes at most: a GIF counts hundredths in two bytes.
LONGEST = 600.0
# Frames, and dots of all of them together, at most.
MOST_FRAMES, MOST_DOTS = 600, 5 * 10**8
# Colors of a GIF, and the shortest time of a frame that all viewers keep, in seconds.
COLORS, SHORTEST = 256, 0.02


@final
@dataclass(frozen=True, eq=False)
class Motion:
    """A drawn figure and what moves on it.

    Attributes:
        figure: with everything drawn as at the end.
        moving: all artists that are not part of the ground.
        show: puts them where they are at a time, and returns those that are seen then, from below.
        end: the last time; the first is zero.
    """

    figure: Figure
    moving: Sequence[Artist]
    show: Callable[[float], Sequence[Artist]]
    end: float

    def frames(self, count: int, dpi: float) -> Iterator[Frame]:
        """The pictures (height, width, 3) at so many times, evenly from the first to the last."""
        canvas: Any = self.figure.canvas
        self.figure.set_dpi(dpi)
        for artist in self.moving:
            artist.set_animated(True)
        canvas.draw()
        ground = canvas.copy_from_bbox(self.figure.bbox)
        for time in np.linspace(0.0, self.end, count):
            canvas.restore_region(ground)
            for artist in self.show(float(time)):
                self.figure.draw_artist(artist)
            yield np.asarray(canvas.buffer_rgba())[..., :3].copy()


class Moving(Protocol):
    """A result that can be shown in motion."""

    def motion(self) -> Motion:
        """Its picture with what moves on it."""
        ...


def animate(
    result: Moving,
    path: str | Path,
    *,
    frames: int = 60,
    seconds: float = 6.0,
    hold: float = 2.0,
    dpi: float | None = None,
) -> Path:
    """Write a result as an animation: a `Race` over its map, a `Trajectory` growing on its plane, a `BasinMap` filling in.

    The same result gives the same bytes. The last frame stands for a while, and a GIF then begins again.

    Args:
        result: what is shown.
        path: where to; its ending decides the kind: ``.gif``, or ``.mp4``, which needs the program ffmpeg.
        frames: pictures from the first to the last, 2 to 600.
        seconds: from the first to the last.
        hold: seconds that the last one stands.
        dpi: dots per inch; 100 if neither this nor `figures` says otherwise.

    Returns:
        The path written.

    Raises:
        InputError: if nothing moves, or for numbers out of their range.
        OutputError: for another ending, without ffmpeg for an MP4, or for a place that cannot be written.

    Example:
        >>> import lossatlas as la
        >>> race = la.race(la.landscapes.four_wells(), ["gd", "adam"], steps=60)
        >>> la.animate(race, "race.gif", frames=30).name  # doctest: +SKIP
        'race.gif'
    """
    path = _checks.path("path", path, where="animate", error=OutputError)
    kind = path.suffix.lower()
    count = _checks.whole("frames", frames, 2, MOST_FRAMES, where="animate")
    seconds = _checks.number("seconds", seconds, above=0, most=LONGEST, where="animate")
    hold = _checks.number("hold", hold, least=0, most=LONGEST, where="animate")
    if seconds < SHORTEST * count:
        raise InputError(
            f"animate got {seconds:g} s for {count} frames; expected at least {SHORTEST * count:g} s, since viewers show none for less "
            f"than {SHORTEST:g} s. Give fewer frames or more seconds."
        )
    if kind not in (".gif", ".mp4"):
        raise OutputError(
            f"an animation cannot be written to {path.name!r}; expected a name that ends in .gif or .mp4."
        )
    program = shutil.which("ffmpeg")
    if kind == ".mp4" and program is None:
        raise OutputError(
            "an MP4 needs the program ffmpeg, which is not found here; expected it on the PATH. Install it, or give a name that ends "
            "in .gif."
        )
    if not callable(getattr(result, "motion", None)):
        raise InputError(
            f"animate got {_checks.shown(result)}; expected a race, a trajectory or a basin map, as race, trajectory and basin_map "
            "return them."
        )
    motion = result.motion()
    across = dots(dpi, DPI)
    width, height = (motion.figure.get_size_inches() * across).tolist()
    if count * width * height > MOST_DOTS:
        raise InputError(
            f"animate got {count} frames of {width:,.0f} × {height:,.0f} dots; expected at most {MOST_DOTS:,} dots in all. Give fewer "
            "frames or a lower dpi."
        )
    pictures = list(motion.frames(count, across))
    pace = max(SHORTEST, round(seconds / count, 2))
    content = _gif(pictures, pace, hold) if program is None or kind == ".gif" else _mp4(program, pictures, pace, hold)
    _write(path, content)
    return path


def counter(ax: Axes) -> Any:
    """The text in the upper right corner that says how far it is."""
    box = {"boxstyle": "round,pad=0.25", "fc": "white", "ec": "0.6", "lw": 0.6, "alpha": 0.9}
    return ax.text(
        0.985, 0.985, "", transform=ax.transAxes, ha="right", va="top", fontsize=9, color="0.1", zorder=9, bbox=box
    )


def need_motion(what: str, counts: Sequence[int]) -> None:
    """Refuse what has nothing to show in motion.

    Args:
        what: the result, in words.
        counts: of places along each path.

    Raises:
        InputError: if none has two.
    """
    if max(counts, default=0) < 2:
        raise InputError(
            f"{what} has no frames to animate: no path of it has more than one point; expected at least two. Take more steps, or "
            "draw it as a picture."
        )


def grown(line: Any, whole: Array, times: Array, time: float) -> bool:
    """Draw a line as far as it has come at a time; whether any of it is there.

    Args:
        line: a matplotlib line.
        whole: (n, 2) all of its points.
        times: (n,) when each is reached, ascending.
        time: now.
    """
    there = int(np.searchsorted(times, time + 1e-9, side="right"))
    line.set_data(*whole[:there].T)
    return there > 0


def _gif(pictures: Sequence[Frame], pace: float, hold: float) -> bytes:
    """One palette for all frames, so that nothing flickers."""
    from PIL import Image

    key = np.concatenate([pictures[0], pictures[len(pictures) // 2], pictures[-1]])
    palette = Image.fromarray(key).quantize(COLORS, method=Image.Quantize.MEDIANCUT)
    frames = [Image.fromarray(one).quantize(palette=palette, dither=Image.Dither.NONE) for one in pictures]
    lasts = [round(1000 * pace)] * len(frames)
    lasts[-1] = max(lasts[-1], round(1000 * hold))
    said = {} if now().command is None else {"comment": str(now().command).encode("utf-8", "replace")[:250]}
    buffer = io.BytesIO()
    frames[0].save(buffer, "GIF", save_all=True, append_images=frames[1:], duration=lasts, loop=0, disposal=1, **said)
    return buffer.getvalue()


def _mp4(program: str, pictures: Sequence[Frame], pace: float, hold: float) -> bytes:
    """H.264 as any player shows it, which takes sizes that are even."""
    import tempfile

    height, width = (size - size % 2 for size in pictures[0].shape[:2])
    still = max(0, round(hold / pace) - 1)
    with tempfile.TemporaryDirectory() as folder:
        made = Path(folder) / "film.mp4"
        said = [] if now().command is None else ["-metadata", f"comment={now().command}"]
        call = [
            program, "-y", "-loglevel", "error", "-f", "rawvideo", "-pix_fmt", "rgb24", "-s", f"{width}x{height}",
            "-framerate", f"{1 / pace:g}", "-i", "-", "-an", "-c:v", "libx264", "-crf", "20", "-pix_fmt", "yuv420p",
            "-threads", "1", "-fflags", "+bitexact", "-flags:v", "+bitexact", "-movflags", "+faststart", *said, str(made),
        ]  # fmt: skip
        stream = b"".join(one[:height, :width].tobytes() for one in [*pictures, *[pictures[-1]] * still])
        done = subprocess.run(call, input=stream, capture_output=True, check=False)
        if done.returncode or not made.exists():
            lines = done.stderr.decode(errors="replace").strip().splitlines() or ["no message"]
            raise OutputError(
                f"ffmpeg could not write the animation: {lines[-1].strip().rstrip('.')}. Expected one that encodes H.264 (libx264); "
                "give a name that ends in .gif for one without it."
            )
        return made.read_bytes()


def _write(path: Path, content: bytes) -> None:
    draft = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            draft.write_bytes(content)
            draft.replace(path)
        finally:
            draft.unlink(missing_ok=True)
    except OSError as error:
        raise OutputError(
            f"the animation cannot be written to {str(path)!r}: {error.strerror or error}. Give a path in a folder that can be "
            "written."
        ) from error
