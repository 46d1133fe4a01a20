"""Run by `make dist` with the installed wheel and its core dependencies only: the main jobs work, and nothing is missing."""

import subprocess
import sys
import tempfile
from importlib.metadata import distributions
from importlib.util import find_spec
from pathlib import Path

import lossatlas as la
from lossatlas.demo import digits, digits_mlp, fit

package = Path(la.__file__).parent
assert "site-packages" in package.parts, package
for name in ("py.typed", "__init__.pyi"):
    assert (package / name).is_file(), f"the wheel lacks {name}"
extras = ("pytest", "pandas", "h5py", "xarray", "lightning", "transformers", "mkdocs")
assert not any(find_spec(name) for name in extras), "this environment holds more than the core"
for name in la.__all__:
    getattr(la, name)

with tempfile.TemporaryDirectory() as folder:
    data = digits("train")
    model = digits_mlp((16,), seed=0)
    fit(model, data, epochs=1, seed=0)
    surface = la.NetworkSurface(model, "cross_entropy", data)
    chart = la.chart(surface, la.Plane.random(surface, seed=0), points=5, exact=True, progress=False)
    chart.save(folder)
    chart.plot().save(Path(folder) / "contour.png")
    assert (la.load(folder).loss == chart.loss).all()
    assert la.extremes(surface, k=1).largest.values[0] > 0
    race = la.race(la.landscapes.four_wells(), ["gd", "annealing"], steps=20)
    assert len(race.verdicts) == 2
    command = Path(sys.executable).parent / "lossatlas"
    for words in (
        ["--help"],
        ["dimension", "resnet50"],
        ["race", "himmelblau", "--steps", "5", "--out", f"{folder}/race"],
    ):
        subprocess.run([command, *words], check=True, stdout=subprocess.DEVNULL)
count = len({one.metadata["Name"] for one in distributions()})
print(f"the wheel of lossatlas {la.__version__} works on Python {sys.version.split()[0]} with {count} packages")
