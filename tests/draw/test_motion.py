"""Animations: what is seen when, the same bytes every time, and what cannot be shown in motion."""

import io
import stat
import sys

import numpy as np
import pytest
from PIL import Image

import lossatlas as la
from lossatlas.cli._main import main
from lossatlas.draw import BasinsDisplay, FieldDisplay, PathsDisplay, TrajectoryDisplay, figures

X = np.linspace(-1.0, 1.0, 21)
WALK = np.stack([np.linspace(-0.9, 0.9, 11), np.linspace(-0.8, 0.6, 11)], 1)


FIELD = FieldDisplay(X, X, X**2 + X[:, None] ** 2, xlabel="a", ylabel="b")


class Shown:
    """A display as a result."""

    def __init__(self, make):
        self.motion = make


def paths_display():
    return PathsDisplay(FIELD, {"a": WALK, "b": [WALK[:4, ::-1], -WALK[4:]]})


def paths():
    times = {"a": [np.arange(11.0)], "b": [np.arange(4.0), np.arange(4.0, 11.0)]}
    return paths_display().motion(times)


def trajectory():
    steps = {"run": 10.0 * np.arange(11)}
    return TrajectoryDisplay(
        FIELD, {"run": WALK}, residuals={"run": np.linspace(0.9, 0, 11)}, steps=steps,
        losses={"run": np.linspace(3, 1, 11)}, shown={"run": np.linspace(2, 1, 11)},
    ).motion()  # fmt: skip


def basins():
    ends = (X[None] + X[:, None] > 0).astype(int)
    cost = np.hypot(X[None], X[:, None]) * 100
    cost[0, 0] = np.nan
    return BasinsDisplay(X, X, ends, ["left", "right"], cost=cost, wells=[("left", -0.5, -0.5)]).motion()


MADE = {"paths": paths, "trajectory": trajectory, "basins": basins}


def words(motion, time):
    return next(one.get_text() for one in motion.show(time) if hasattr(one, "get_text") and one.get_bbox_patch())


@pytest.mark.slow
def test_a_path_has_come_as_far_as_its_time_and_ends_are_seen_at_the_end():
    motion = paths()
    assert motion.end == 10.0
    lines = [
        one
        for one in motion.show(4.5)
        if getattr(one, "get_color", lambda: "")() == "white" and len(one.get_xdata()) > 1
    ]
    assert sorted(len(one.get_xdata()) for one in lines) == [
        4,
        5,
    ]  # a at 0 to 4, b's first descent whole, its second one dot
    heads = [one for one in motion.show(4.5) if one.get_gid() is None and len(getattr(one, "get_xdata", list)()) == 1]
    places = {(round(float(one.get_xdata()[0]), 6), round(float(one.get_ydata()[0]), 6)) for one in heads}
    assert {tuple(np.round(WALK[4], 6)), tuple(np.round(-WALK[4], 6))} <= places
    assert words(motion, 4.5) == "step 4 of 10" and words(motion, 10.0) == "step 10 of 10"
    assert not any(str(one.get_gid()).startswith("end of") for one in motion.show(9.0))
    assert {one.get_gid() for one in motion.show(10.0)} >= {"end of a", "end of b"}


@pytest.mark.slow
def test_losses_and_residuals_grow_with_the_path():
    motion = trajectory()
    assert motion.end == 100.0
    grown = [one for one in motion.show(42.0) if hasattr(one, "get_xdata") and 1 < len(one.get_xdata()) < 11]
    assert [len(one.get_xdata()) for one in grown] == [5] * 5  # casing, line, two losses, residuals
    assert [len(one.get_offsets()) for one in motion.show(42.0) if hasattr(one, "get_offsets")] == [5, 5]


@pytest.mark.slow
def test_a_map_fills_in_by_the_cost_of_its_starts():
    motion = basins()
    cost = np.hypot(X[None], X[:, None]) * 100

    def colored(time):
        picture = motion.show(time)[0].get_array()
        return ~np.isclose(np.asarray(picture), 0xF4 / 255).all(-1)

    assert not colored(0.0).any() and colored(1.0).all()
    half = colored(0.5)
    assert abs(half.mean() - 0.5) < 0.05 and cost[half].max() <= cost[~half].min() + 1e-9 + (cost[0, 0] in cost[~half])
    assert not colored(0.999)[0, 0]  # not known when: last
    assert words(motion, 0.5).endswith("queries")


def run(*words):
    with pytest.raises(SystemExit) as end:
        main(list(words))
    return end.value.code


@pytest.mark.slow
@pytest.mark.parametrize("kind", MADE)
def test_the_same_result_gives_the_same_bytes_and_the_last_frame_stands(kind, tmp_path):
    files = [
        la.animate(Shown(MADE[kind]), tmp_path / f"{k}.gif", frames=12, seconds=1.2, hold=1.5, dpi=50) for k in (0, 1)
    ]
    assert files[0].read_bytes() == files[1].read_bytes() and files[0].stat().st_size < 60_000
    with Image.open(files[0]) as film:
        durations, last = [], None
        for k in range(film.n_frames):
            film.seek(k)
            durations.append(film.info["duration"])
            last = np.asarray(film.convert("RGB"), dtype=float)
        assert 2 < film.n_frames <= 12 and durations[-1] == 1500 and sum(durations) == 11 * 100 + 1500
    motion = MADE[kind]()
    whole = [*motion.frames(2, 50)][-1]
    assert np.abs(last - whole).mean() < 6  # but for the palette


@pytest.mark.slow
def test_the_last_frame_is_the_picture():
    whole = [*paths().frames(2, 60)][-1].astype(float)
    still = np.asarray(Image.open(io.BytesIO(paths_display().plot().render(dpi=60))).convert("RGB"), dtype=float)
    assert whole.shape == still.shape
    apart = np.abs(whole - still).max(-1) > 40
    rows, columns = np.nonzero(apart)
    # The counter in the corner, and nothing more than the edges of lines.
    outside = apart.copy()
    outside[: int(0.15 * len(apart)), int(0.5 * apart.shape[1]) :] = False
    assert apart.any() and outside.mean() < 0.004, (rows.min(), columns.min())


@pytest.mark.slow
def test_size_and_command_are_those_of_the_figures(tmp_path):
    with figures(width="84mm", dpi=60, command="lossatlas animate DIR"):
        file = la.animate(Shown(basins), tmp_path / "a.gif", frames=4)
    with Image.open(file) as film:
        assert film.size[0] == round(84 / 25.4 * 60) and film.info["comment"] == b"lossatlas animate DIR"


def ffmpeg(folder, monkeypatch, last=""):
    """A program of that name that notes what it was given."""
    program = folder / "ffmpeg"
    program.write_text(
        f"#!{sys.executable}\nimport sys, json\n"
        f"if {last!r}: sys.exit({last!r})\n"
        "data = sys.stdin.buffer.read()\nopen(sys.argv[-1], 'w').write(json.dumps([len(data), sys.argv[1:-1]]))\n"
    )
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", str(folder))


@pytest.mark.slow
def test_an_mp4_is_ffmpegs_with_even_sizes_and_a_last_frame_that_stands(tmp_path, monkeypatch):
    import json

    ffmpeg(tmp_path, monkeypatch)
    with figures(width=6.51, dpi=50):
        file = la.animate(Shown(basins), tmp_path / "b.mp4", frames=5, seconds=1.0, hold=1.0)
    size, call = json.loads(file.read_text())
    width, height = map(int, call[call.index("-s") + 1].split("x"))
    assert width % 2 == 0 and height % 2 == 0 and width in (324, 325, 326)
    assert size == (5 + 4) * 3 * width * height and call[call.index("-framerate") + 1] == "5"
    ffmpeg(tmp_path, monkeypatch, last="Unknown encoder 'libx264'")
    with pytest.raises(la.OutputError, match=r"Unknown encoder 'libx264'\. Expected one that encodes"):
        la.animate(Shown(basins), tmp_path / "c.mp4", frames=3)
    assert not (tmp_path / "c.mp4").exists()
    monkeypatch.setenv("PATH", str(tmp_path / "nowhere"))
    with pytest.raises(la.OutputError, match="needs the program ffmpeg, which is not found"):
        la.animate(Shown(basins), tmp_path / "c.mp4")


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"frames": 0}, "frames=0; expected a whole number from 2 to 600"),
        ({"frames": 1}, "frames=1; expected"),
        ({"frames": 10**9}, "expected a whole number from 2 to 600"),
        ({"seconds": 0}, "seconds=0"),
        ({"seconds": float("nan")}, "seconds"),
        ({"frames": 600, "seconds": 1}, "expected at least 12 s"),
        ({"hold": -1}, "hold=-1"),
        ({"dpi": 2400, "frames": 100}, "dots in all"),
        ({"dpi": 5000}, "at most 2400"),
    ],
)
def test_numbers_out_of_their_range_are_refused(settings, says, tmp_path):
    with pytest.raises(la.InputError, match=says):
        la.animate(Shown(basins), tmp_path / "x.gif", **settings)
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_what_has_no_frames_is_refused(tmp_path):
    flat = np.zeros((1, 2))
    still = {
        "paths": lambda: PathsDisplay(FIELD, {"a": flat}).motion({"a": [np.zeros(1)]}),
        "trajectory": lambda: TrajectoryDisplay(
            None, {"a": flat}, residuals={"a": [0]}, steps={"a": [0]}, losses={"a": [1]}, shown={"a": [1]}
        ).motion(),
        "basins": lambda: BasinsDisplay(X, X, np.zeros((21, 21)), ["a"]).motion(),
    }
    for name, make in still.items():
        with pytest.raises(la.InputError, match="has no frames to animate"):
            la.animate(Shown(make), tmp_path / f"{name}.gif")
    bowl = la.Function(lambda u: (u * u).sum(), box=[(-1, 1)] * 2, start=[0.5, 0.5])
    race = la.race(bowl, ["gd"], steps=3)
    with pytest.raises(la.InputError, match="keeps only the ends"):
        la.animate(race.only_ends(), tmp_path / "x.gif")
    wide = la.race(la.Function(lambda u: (u * u).sum(), start=[0.5] * 3), ["gd"], steps=3)
    with pytest.raises(la.InputError, match="3 parameters; expected two"):
        la.animate(wide, tmp_path / "x.gif")
    for other in (3, None, race.table()):
        with pytest.raises(la.InputError, match="expected a race, a trajectory or a basin map"):
            la.animate(other, tmp_path / "x.gif")
    for name in ("x", "x.png"):
        with pytest.raises(la.OutputError, match=r"ends in \.gif or \.mp4"):
            la.animate(race, tmp_path / name)
    (tmp_path / "file").write_text("")
    with pytest.raises(la.OutputError, match="cannot be written"):
        la.animate(Shown(basins), tmp_path / "file" / "x.gif", frames=2)


@pytest.mark.slow
def test_the_commands_write_animations(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    call = ("race", "himmelblau", "--optimizers", "gd,adam", "--steps", "6", "--runs", "1")
    assert run(*call, "--animate", "gif", "--out", "out", "--dpi", "40") == 0
    assert (tmp_path / "out" / "race.gif").exists()
    assert run("animate", "out", "--frames", "5", "--dpi", "50") == 0
    assert "written: out/race.gif" in capsys.readouterr().err
    assert run(*call, "--animate", "gif") == 2 and "without a folder" in capsys.readouterr().err
    (tmp_path / "empty").mkdir()
    assert run("animate", "empty") == 2 and "holds no race, training path or basin map" in capsys.readouterr().err
    assert run("animate", "out", "--frames", "0") == 2 and "expected a whole number from 2" in capsys.readouterr().err
