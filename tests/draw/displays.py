"""Every display with data as they come: long names, units, notes. What a column of a paper has to hold."""

from __future__ import annotations

import numpy as np

import lossatlas.draw as draw

X, Y = np.linspace(-1.2, 1.2, 41), np.linspace(-1.0, 1.4, 37)
UNITS = {"xlabel": "α (random, filter-normalized)", "ylabel": "β (random, filter-normalized)"}
TITLE = "ResNet with cross_entropy: training loss"
NOTE = "1,681 points on a grid, of which 289 were evaluated; the rest is interpolated from outputs"


def _bowl(at=(0.3, 0.2)):
    return 0.05 + (X - at[0]) ** 2 + 3 * (Y[:, None] - at[1]) ** 2


def _ripples():
    return 2 + np.cos(5 * X) * np.cos(4 * Y[:, None]) + 0.3 * _bowl()


def _walk(seed, steps=60):
    rng = np.random.default_rng(seed)
    return np.array([-0.9, -0.8]) * np.linspace(1, -0.2, steps)[:, None] + 0.03 * rng.normal(size=(steps, 2)).cumsum(0)


def _field():
    return draw.FieldDisplay(X, Y, _bowl(), **UNITS, title=TITLE, note=NOTE, center=(0.0, 0.0))


def _curves():
    q = np.arange(0, 30_001, 300)
    y = 0.02 + 5.0 * np.exp(-q / 6000)
    names = ("gd", "momentum", "nesterov", "rmsprop", "adam", "adamw", "annealing")
    return {
        name: (q, y * (1 + 0.2 * k), y * 0.8 * (1 + 0.2 * k), y * 1.5 * (1 + 0.2 * k)) for k, name in enumerate(names)
    }


def every() -> dict[str, draw.Display]:
    """Name of the class to a display, not yet drawn."""
    t = np.linspace(0, 1, 41)
    step = np.arange(60.0)
    loss = np.exp(-step / 20) + 0.1
    bump = 1 - (2 * t - 1) ** 2
    end = np.array([0.2, 0.2])
    square = np.linspace(-4, 4, 25)
    ends = (square[:, None] > 0).astype(int) + 2 * (square > 0).astype(int) - (np.hypot(square, square[:, None]) < 1)
    runs = {"gd": _walk(0), "rmsprop": _walk(1), "adam": _walk(2)}
    closed = {name: np.concatenate([path, [end]]) for name, path in runs.items()}
    barriers = np.array([[0, 0.3, 1.2, 0.7], [0.3, 0, 0.9, 0.8], [1.2, 0.9, 0, 0.2], [0.7, 0.8, 0.2, 0]])
    posterior = (square[:, None] / 4) ** 2 + (square / 4) ** 2
    seen = np.random.default_rng(1).uniform(-4, 4, (10, 2))
    rows = [
        ("resolution", "the narrowest valley is 12 cells wide; the grid resolves it", "fine"),
        ("curvature", "the largest curvature in the picture is 4 % of λmax = 31.2 of the whole surface", "warns"),
        (
            "saddle",
            "a random plane through this saddle shows it with probability 0.2 %, 95 % interval 0.1 % to 0.4 %",
            "warns",
        ),
        ("gradient", "not measured", "missing"),
    ]
    made = [
        _field(),
        draw.ReliefDisplay(X, Y, _bowl(), **UNITS, title=TITLE, note=NOTE, paths=closed),
        draw.PathsDisplay(_field(), closed, note="Typical runs: of 100 runs of each racer, adam ended in A in 48"),
        draw.CurvesDisplay(_curves(), title="four-wells", ylabel="loss above the minimum", note="Lines: median of 100 runs"),
        draw.ProfileDisplay(
            t, 2 * bump, 2 * bump - 0.1, 2 * bump + 0.1, xlabel="t (Euclidean distance 12.3)", title=TITLE,
            marks=[("first network", 0.0), ("second network", 1.0)], note=NOTE,
        ),
        draw.BarsDisplay(
            ["simulated annealing", "random restart", "gd"], [0.48, 0.68, 0.0], [0.38, 0.58, 0.0], [0.57, 0.76, 0.0],
            xlabel="share of 100 runs that ended in the global well, 95 % interval", title="deep-wells", note=NOTE,
        ),
        draw.BasinsDisplay(
            square, square, ends, ["A", "B", "C", "global"], cost=np.abs(posterior), title="Basins of momentum on four-wells",
            wells=[("A", -2, -2), ("global", 2, 2)],
        ),
        draw.AlongDisplay(
            {"this run": (step, 20 + step, 0.5 + 0 * step)}, {"this run": (step, 60 + 0 * step)},
            more={"this run": (step, np.stack([step, 0.5 * step], 1))}, title="Sharpness along the run", note=NOTE,
        ),
        draw.BarrierDisplay(
            {
                "line, train": {"t": t, "y": bump, "low": bump - 0.1, "high": bump + 0.1},
                "line, aligned by weights, train": {"t": t, "y": 0.2 * bump},
            },
            barrier=("line, train", 0.5, 1.0, "barrier 1.02"), title="first to second", ylabel="cross-entropy (nats)", note=NOTE,
        ),
        draw.LadderDisplay(
            [16, 64, 256, 1024], {"naive": [[2, 2.2], [1.8, 1.9], [1.5, 1.6], [1.4, 1.5]], "aligned by activations": [[1, 1.1]] * 4},
            xlabel="width of the hidden layers", ylabel="barrier (nats)", title="Barriers against width", note=NOTE,
        ),
        draw.SpectrumDisplay(
            np.linspace(-1, 30, 300), np.exp(-np.linspace(-1, 30, 300) ** 2) + 1e-6, outliers=np.array([12.0, 28.0]), single=1e-5,
            xlabel="eigenvalue of the Hessian (units of the loss)", title="Spectrum of 174,604 eigenvalues", note=NOTE,
        ),
        draw.IndexDisplay(np.array([0.2, 0.5, 0.9]), np.array([0.0, 0.1, 0.3]), ["true"] * 3, title="critical points"),
        draw.MergeTreeDisplay(
            np.array([0.0, 0.5, 0.3]), np.array([np.nan, 2.0, 1.0]), np.array([-1, 0, 0]), top=3.0, title=TITLE, note=NOTE,
            labels=["(0.1, 0.2)", "(−0.4, 0.7)", "(0.9, −0.3)"], depths=["", "1.5", "0.7"],
        ),
        draw.TopologyDisplay(
            X, Y, _ripples(), **UNITS, title=TITLE, note=NOTE, minima=np.array([[0.6, 0.0], [-0.6, 0.0]]),
            saddles=np.array([[np.nan] * 2, [0.0, 0.4]]), maxima=np.array([[0.0, 0.0]]), depths=["", "0.41"],
        ),
        draw.TrajectoryDisplay(
            draw.FieldDisplay(X, Y, _bowl(), xlabel="PC 1 (Euclidean distance)", ylabel="PC 2 (Euclidean distance)", title=TITLE),
            {"run": _walk(3)}, residuals={"run": np.linspace(0.4, 0.02, 60)}, steps={"run": step}, losses={"run": loss},
            shown={"run": 1.1 * loss}, title=TITLE, note=NOTE,
        ),
        draw.CompareDisplay(
            ["with shortcuts", "plain"], [X, X], [Y, Y], [[_bowl(), _ripples()], [_ripples(), _bowl()]], rows=["seed 0", "seed 1"],
            numbers={"roughness": {"with shortcuts": np.array([0.1, 0.2]), "plain": np.array([0.5, 0.4])}}, title=TITLE, note=NOTE,
        ),
        draw.EndsDisplay(
            ["momentum", "momentum", "adam", "muon"], [[0, 0], [1, 0.5], [5, 1], [4, 4]], barriers=barriers,
            sizes=[30.0, 20, 70, 10], size_label="λmax", share=0.93, title="small CNN: where training ended",
        ),
        draw.SurrogateDisplay(
            square, square, posterior, [(5, posterior, 0.2 + 0 * posterior, seen[:5]), (10, posterior, 0.1 + posterior, seen)],
            title="What Bayesian optimization believes of four-wells",
        ),
        draw.CardDisplay(
            rows, field=_field(), whole=(-2.0, 0.1, 31.2), shown=(0.2, 1.3), others=(0.1, 2.0), title="Honesty card", note=NOTE,
        ),
    ]  # fmt: skip
    return {type(one).__name__: one for one in made}
