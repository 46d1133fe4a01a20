"""Makes the reference when the documentation is built: one page a room, every public name with its signature.

Names come from ``lossatlas/__init__.pyi`` and from the rooms themselves, so that nothing has to be listed here.
"""

from __future__ import annotations

import ast
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

STUB = Path(__file__).parents[2] / "src" / "lossatlas" / "__init__.pyi"
LANDSCAPES = "lossatlas.surface.landscapes"
# Page: title, what stands on top, the rooms whose public names are on it, and further names of a room.
PAGES: dict[str, tuple[str, str, tuple[str, ...], tuple[str, ...]]] = {
    "surfaces": (
        "Surfaces",
        "What is evaluated: the loss of a network, a function, a landscape, or a slice of one of these.",
        ("lossatlas.surface",),
        (),
    ),
    "landscapes": (
        "Landscapes",
        "Analytic loss surfaces whose minima are known, as `lossatlas.landscapes`.",
        (LANDSCAPES,),
        ("Bbob",),
    ),
    "charts": (
        "Charts",
        "Lines, planes and spaces, charts and volumes of the loss on them, their certificate and their honesty card.",
        ("lossatlas.chart",),
        ("card", "export", "export_path", "export_volume", "normalize", "roughness"),
    ),
    "curvature": (
        "Curvature",
        "Eigenvalues, trace, spectrum, critical points and sharpness, each with its error.",
        ("lossatlas.curvature",),
        (),
    ),
    "optimizers": (
        "Optimizers",
        "The algorithms that race, by year of first publication. `lossatlas race --catalog` prints the same table, and settings.",
        ("lossatlas.optimize",),
        (),
    ),
    "races": ("Races", "Optimizers on one surface, with every query counted.", ("lossatlas.race",), ()),
    "advice": (
        "Advice",
        "Which optimizer suits a surface: a counted probe, a decision tree with its reasons, and a race that checks it.",
        ("lossatlas.advise",),
        ("forecast",),
    ),
    "connections": (
        "Connections",
        "Paths and barriers between networks, permutations, alignment and merging.",
        ("lossatlas.connect",),
        (),
    ),
    "recording": ("Recording", "A training run as a path on the surface.", ("lossatlas.record",), ()),
    "queries": (
        "Queries, budgets and costs",
        "Optimizers and samplers yield queries; the probe evaluates them and counts their cost.",
        ("lossatlas.probe", "lossatlas.probe.engine"),
        (),
    ),
    "lessons": (
        "Lessons",
        "Claims about loss surfaces, each with an experiment that can fail.",
        ("lossatlas.lessons",),
        (),
    ),
    "explorer": (
        "The explorer",
        "Results as one page that can be turned, clicked and raced on: one file, offline.",
        ("lossatlas.page",),
        (),
    ),
    "results": (
        "Saving, pictures, errors",
        "What all results have in common: they can be saved, loaded, drawn and cited. Errors form one tree.",
        ("lossatlas._load", "lossatlas._citation", "lossatlas.archive", "lossatlas.draw", "lossatlas._errors"),
        (),
    ),
}


def public() -> dict[str, list[str]]:
    """The public names by the module they are imported from."""
    found: dict[str, list[str]] = {}
    for node in ast.parse(STUB.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.ImportFrom):
            found.setdefault(str(node.module), []).extend(alias.name for alias in node.names)
    return found


def names(page: str) -> list[str]:
    """The dotted names on a page: functions first, then types."""
    _, _, rooms, further = PAGES[page]
    listed = public()
    found: set[str] = set()
    for room in (import_module(name) for name in rooms):
        for name in listed.get(room.__name__, ()):
            value = getattr(room, name)
            # A public module, such as lossatlas.directions, is shown by what it holds; landscapes have a page.
            parts = _members(value) if isinstance(value, ModuleType) else [f"{room.__name__}.{name}"]
            found.update(part for part in parts if page == "landscapes" or not part.startswith(LANDSCAPES))
    first = import_module(rooms[0])
    # By its own module, where a room inside has the name of the function.
    found |= {f"{getattr(first, name).__module__}.{name}" for name in further}
    if page == "landscapes":
        found |= {path for path in _members(first) if path != f"{LANDSCAPES}.catalog"}
    if page == "optimizers":
        found |= {
            f"{first.__name__}.{kind.__name__}" for kind in first.catalog.values() if hasattr(first, kind.__name__)
        }
    return sorted(found, key=lambda path: (path.rpartition(".")[2][0].isupper(), path.rpartition(".")[2].lower()))


def _members(module: ModuleType) -> list[str]:
    # A second name of a class, such as directions.gradient, is left to its first.
    own = [
        name
        for name, value in vars(module).items()
        if name[0] != "_" and callable(value) and getattr(value, "__name__", name) == name
    ]
    return [f"{module.__name__}.{name}" for name in getattr(module, "__all__", own)]


def text(page: str) -> str:
    """The Markdown of a page."""
    title, intro, _, _ = PAGES[page]
    above = [past()] if page == "optimizers" else []
    return "\n\n".join([f"# {title}", intro, *above, *(f"::: {name}" for name in names(page))]) + "\n"


def past() -> str:
    """The optimizers by year as a Markdown table, from the catalog."""
    from lossatlas.optimize import by_year

    heads = ["year", "name", "idea", "where it is used", "source", "drawn in"]
    rows = [
        [
            str(one.year or "—"),
            f"`{one.name}`",
            one.idea,
            one.used,
            one.source,
            f'<span style="color:{one.color}">■</span>',
        ]
        for one in by_year()
    ]
    lines = [heads, ["---"] * len(heads), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)


def on_files(files: Any, config: Any) -> Any:
    """Add the pages: mkdocs calls this before it reads the navigation."""
    from mkdocs.structure.files import File

    for page in PAGES:
        files.append(File.generated(config, f"reference/{page}.md", content=text(page)))
    return files
