"""The part of a page that needs no script: every sentence, table and picture of the scene, for readers, printers and screen readers."""

from __future__ import annotations

import html
from collections.abc import Iterable, Sequence
from typing import Any

from lossatlas.page._picture import picture
from lossatlas.page._scene import Scene


def record(scene: Scene) -> str:
    """The HTML inside ``<main id="record">``."""
    head = scene.head
    parts = [f"<h1>{html.escape(scene.title)}</h1>", "<noscript><p>The pictures below do not move without JavaScript; "
             "all numbers and sentences are here.</p></noscript>"]  # fmt: skip
    parts += [_items(head["notes"])] if head["notes"] else []
    parts += [_lecture(one, head["lessons"]) for one in head.get("lecture", ())]
    for surface in head["surfaces"]:
        parts.append(_surface(scene, surface))
    parts += [_section(one, one["sentence"]) for one in head["comparisons"]]
    parts += [_path(scene, one) for one in head["paths"]]
    parts += [_recording(scene, one) for one in head["recordings"]]
    parts += [_spectrum(one) for one in head["spectra"]]
    parts += [_lesson(one) for one in head["lessons"]]
    parts += [_card(one) for one in head["cards"]]
    parts.append(_made(head["made"]))
    return "\n".join(part for part in parts if part)


def _surface(scene: Scene, surface: dict[str, Any]) -> str:
    head, name = scene.head, surface["id"]
    mine = {
        part: [one for one in head[part] if one["surface"] == name] for part in ("runs", "many", "basins", "sweeps")
    }
    body = [_image(picture(scene, surface), _described(scene, surface))]
    body.append(_items(surface.get("reading") or []))
    if surface.get("card"):
        rows = [[line["name"], line["value"], line.get("sentence", "")] for line in surface["card"]]
        body.append(table(["what the picture shows", "state", "measured"], rows, "Honesty card"))
    if mine["runs"]:
        rows = [
            [run["label"], *_metered(run.get("meter")), _last(scene, run), run.get("verdict", "")]
            for run in mine["runs"]
        ]
        heads = ["racer", "losses", "gradients", "products", "where it stood last", "how it ended"]
        body.append(table(heads, rows, f"Races on {surface['title']}"))
    for one in mine["many"]:
        body.append(
            table(["ends in", "share", "95 % interval"], _shares(one["shares"]), f"{one['n']:,} runs of {one['label']}")
        )
    for one in mine["basins"]:
        body.append(
            table(
                ["ends in", "share", "95 % interval"],
                _shares(one["shares"]),
                f"Basins of {one['label']}: {one['sentence']}",
            )
        )
    for one in mine["sweeps"]:
        rows = [[_number(v), _share(o)] for v, o in zip(one["values"], one["outcome"], strict=True)]
        body.append(table([one["setting"], one["label"]], rows, one["sentence"]))
    if any((surface.get("meter") or {}).values()):
        rows = [[kind, *_metered(meter)] for kind, meter in (surface.get("meters") or {}).items()]
        rows.append(["together", *_metered(surface.get("meter"))])
        body.append(table(["evaluated", "losses", "gradients", "products"], rows, "Cost"))
    return _wrapped(surface, "".join(body))


def _described(scene: Scene, surface: dict[str, Any]) -> str:
    """What a screen reader says of a picture: where it lies, and the numbers in it."""
    low, high = surface["box"]["lower"], surface["box"]["upper"]
    reach = ", ".join(
        f"{label} from {a:.3g} to {b:.3g}" for label, a, b in zip(surface["labels"], low, high, strict=True)
    )
    said = f"Map of {surface['title']}, {reach}"
    first = next(iter(surface.get("reading") or []), "")
    return f"{said}. {first}".strip()


def _path(scene: Scene, one: dict[str, Any]) -> str:
    t, loss = scene.array(one["t"]), scene.array(one["loss"])
    step = max(1, len(t) // 24)
    rows = [[f"{a:.3g}", f"{b:.4g}"] for a, b in zip(t[::step].tolist(), loss[::step].tolist(), strict=True)]
    return _wrapped(one, _items(one.get("reading") or []) + table(["t", "loss"], rows, "Loss along the path"))


def _recording(scene: Scene, one: dict[str, Any]) -> str:
    steps = scene.array(one["steps"])
    columns = [
        ("loss", "loss"), ("noted", "loss noted in training"), ("plane_loss", "loss on the plane"), ("residual", "share off the plane"),
    ]  # fmt: skip
    columns = [(key, said) for key, said in columns if one.get(key) is not None]
    step = max(1, len(steps) // 24)
    rows = [
        [str(int(steps[k])), *(f"{float(scene.array(one[key])[k]):.4g}" for key, _ in columns)]
        for k in range(0, len(steps), step)
    ]
    return _wrapped(
        one, _items(one.get("notes") or []) + table(["step", *(said for _, said in columns)], rows, "Recorded steps")
    )


def _spectrum(one: dict[str, Any]) -> str:
    return _wrapped(one, _items(one.get("reading") or [one.get("sentence", "")]))


def _lesson(one: dict[str, Any]) -> str:
    rows = [
        [check["sentence"], {True: "holds", False: "does not hold", None: "–"}[check.get("held")]]
        for check in one["checks"]
    ]
    body = f"<p>{html.escape(one['claim'])}</p><p>{html.escape(one['experiment'])}</p>"
    body += table(["part of the claim: what was measured", "outcome"], rows, one["verdict"])
    body += _items(one.get("caveats") or [], "What it does not show")
    return _wrapped(one, body + f"<p>Cost: {html.escape(one.get('cost', ''))}</p>")


def _lecture(section: dict[str, Any], lessons: list[dict[str, Any]]) -> str:
    verdicts = {one["id"]: f"{one['outcome']}. {one['verdict']}" for one in lessons}
    rows = [
        [one["says"], one["lesson"], verdicts.get(one["lesson"], "not on this page"), one.get("command", "")]
        for one in section["statements"]
    ]
    prose = "".join(f"<p>{html.escape(text)}</p>" for text in section["text"])
    heads = ["statement", "lesson", "what came out", "in a terminal"]
    # A landscape may bear the name of its section.
    return _wrapped(
        {**section, "id": f"lecture-{section['id']}"}, prose + table(heads, rows, f"Statements: {section['title']}")
    )


def _card(one: dict[str, Any]) -> str:
    heads = one.get("columns") or ["what", "value"]
    body = _image(one.get("figure"), f"Picture of {one['title']}. {next(iter(one.get('sentences') or []), '')}")
    body += _items(one.get("sentences") or [])
    return _wrapped(one, body + (table(heads, one["rows"], one["title"]) if one["rows"] else ""))


def _made(made: dict[str, Any]) -> str:
    said = f"Made by {made['program']}" + (f" with {made['command']}" if made.get("command") else "") + "."
    return f'<section id="record-made"><h2>How this page was made</h2><p>{html.escape(said)}</p></section>'


def _section(one: dict[str, Any], sentence: str) -> str:
    return _wrapped(one, f"<p>{html.escape(sentence)}</p>")


def _wrapped(one: dict[str, Any], body: str) -> str:
    name = html.escape(f"record-{one.get('id', one['title'])}", quote=True)
    return f'<section id="{name}"><h2>{html.escape(one["title"])}</h2>{body}</section>'


def _image(source: str | None, words: str) -> str:
    return f'<img src="{html.escape(source, quote=True)}" alt="{html.escape(words, quote=True)}">' if source else ""


def _items(sentences: Iterable[str], heading: str = "") -> str:
    items = "".join(f"<li>{html.escape(str(sentence))}</li>" for sentence in sentences if sentence)
    return (f"<h3>{html.escape(heading)}</h3>" if heading else "") + f"<ul>{items}</ul>" if items else ""


def table(columns: Sequence[str], rows: Sequence[Sequence[str]], caption: str) -> str:
    """A table that scrolls sideways where it is wide."""
    head = "".join(f'<th scope="col">{html.escape(str(column))}</th>' for column in columns)
    body = "".join("<tr>" + "".join(f"<td>{html.escape(str(cell))}</td>" for cell in row) + "</tr>" for row in rows)
    label = html.escape(caption, quote=True)
    return (
        f'<div class="wide" tabindex="0" role="region" aria-label="{label}"><table><caption>{html.escape(caption)}</caption>'
        f"<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>"
    )


def _metered(meter: dict[str, Any] | None) -> list[str]:
    return [f"{int(meter[kind]):,}" if meter else "–" for kind in ("losses", "gradients", "products")]


def _last(scene: Scene, run: dict[str, Any]) -> str:
    losses = scene.array(run["losses"])
    return f"{float(losses[-1]):.4g}" if len(losses) else "–"


def _shares(shares: list[dict[str, Any]]) -> list[list[str]]:
    return [[one["well"], _share(one["share"]), f"{_share(one['low'])} to {_share(one['high'])}"] for one in shares]


def _share(value: float | None) -> str:
    return "–" if value is None else f"{value:.1%}"


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.4g}"
