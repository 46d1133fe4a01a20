"""A lecture of a scene: sections of prose, and statements that point to the lesson which tests them and say what to watch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from lossatlas.chart import Chart, Trajectory
from lossatlas.lessons import Section, Statement
from lossatlas.page._building import Building
from lossatlas.page._images import LARGE, of_figure
from lossatlas.page._optimizers import TWINS, add_optimizers
from lossatlas.page._predictions import predicted
from lossatlas.page._records import add_trajectory
from lossatlas.page._surfaces import add_chart, add_surface
from lossatlas.surface.landscapes import landscape


@dataclass(frozen=True)
class Lecture:
    """What a lecture's page is made of, beside the evidence of its lessons.

    Attributes:
        sections: prose and statements, in order.
        views: charts of a network, by the name under which statements refer to them.
        pictures: matplotlib figures with their captions, by the name under which statements refer to them.
    """

    sections: tuple[Section, ...]
    views: Mapping[str, Chart | Trajectory] = field(default_factory=dict)
    pictures: Mapping[str, tuple[str, Any]] = field(default_factory=dict)


def add_lecture(building: Building, made: Lecture) -> None:
    """Its sections. Races and the evidence of lessons are in the scene already."""
    places = {name: _view(building, one) for name, one in made.views.items()}
    drawn = {
        name: {"name": caption, "image": of_figure(figure, LARGE)} for name, (caption, figure) in made.pictures.items()
    }
    for section in made.sections:
        building.parts["lecture"].append({
            "id": section.id,
            "title": section.title,
            "text": list(section.text),
            "statements": [
                _statement(building, f"{section.id}.{k}", one, places)
                | {"figures": [drawn[one.picture]] if one.picture in drawn else []}
                for k, one in enumerate(section.statements, start=1)
            ],
        })  # fmt: skip


def _view(building: Building, made: Chart | Trajectory) -> str | None:
    if isinstance(made, Chart):
        return add_chart(building, made)
    add_trajectory(building, made)
    return None if made.field is None else add_chart(building, made.field)


def _statement(building: Building, name: str, one: Statement, places: Mapping[str, str | None]) -> dict[str, Any]:
    place, _, pattern = one.watch.partition(" ")
    where = places.get(place)
    if where is None and place and place not in _VIEWS:
        where = add_surface(building, landscape(place))
        add_optimizers(building, list(TWINS))
    there = any(lesson["id"] == one.lesson for lesson in building.parts["lessons"])
    return {
        "id": name,
        "says": one.says,
        "lesson": one.lesson,
        "here": there,
        "command": one.typed,
        "surface": where,
        "state": pattern.format(id=where) if where else None,
        "predict": predicted(building, one.predict, place or None, where) if one.predict else None,
    }


# Names that statements give to charts of a network; without the chart there is nothing to watch.
_VIEWS = frozenset({"random", "path"})
