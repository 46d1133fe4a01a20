"""One page about many jobs: what each was, how it ended, what it says, and its picture."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from html import escape
from pathlib import Path

from lossatlas import archive
from lossatlas.cli._jobs import LOG, Job, State

# What shows a result best, where it is there.
PICTURES = (
    "contour.png",
    "profile.png",
    "connection.png",
    "barrier.png",
    "spectrum.png",
    "loss-examples.png",
    "race.png",
)
SENTENCES = 4
_STYLE = (
    "body{font:15px/1.5 system-ui,sans-serif;max-width:72rem;margin:2rem auto;padding:0 1rem;color:#1a1a1a;background:#fff}"
    "table{border-collapse:collapse}td,th{padding:.2rem .8rem .2rem 0;text-align:left;vertical-align:top}"
    "section{border-top:1px solid #ccc;padding:1rem 0;display:grid;grid-template-columns:minmax(16rem,22rem) 1fr;gap:1.5rem}"
    "section img{width:100%}h2{font-size:1.05rem;margin:0 0 .3rem}code{font-size:.85em;overflow-wrap:anywhere}"
    ".failed{color:#b00020}@media(max-width:48rem){section{grid-template-columns:1fr}}"
)


def write(folder: Path, jobs: Sequence[Job], states: Mapping[str, State]) -> None:
    """Write summary.md and summary.html into a folder.

    Args:
        folder: of all jobs.
        jobs: in their order.
        states: how each stands, by name.
    """
    archive.write_text(folder / "summary.md", "\n".join(_markdown(folder, jobs, states)) + "\n")
    archive.write_text(folder / "summary.html", "\n".join(_html(folder, jobs, states)) + "\n")


def _counts(states: Mapping[str, State]) -> str:
    kinds = ("done", "done before", "failed", "interrupted", "running", "waiting")
    counts = {kind: sum(state.status == kind for state in states.values()) for kind in kinds}
    return ", ".join(f"{count} {kind}" for kind, count in counts.items() if count)


def _picture(folder: Path, job: Job) -> str | None:
    own = folder / job.name
    found = [name for name in PICTURES if (own / name).is_file()] or sorted(path.name for path in own.glob("*.png"))
    return f"{job.name}/{found[0]}" if found else None


def _sentences(folder: Path, job: Job) -> list[str]:
    log = folder / job.name / LOG
    lines = log.read_text(errors="replace").splitlines() if log.is_file() else []
    says = [line.removeprefix("- ") for line in lines if line.startswith("- ")][:SENTENCES]
    return [
        *(line for line in lines if line.startswith("loss at the center")),
        *says,
        *(line for line in lines if line.startswith("cost:")),
    ]


def _markdown(folder: Path, jobs: Sequence[Job], states: Mapping[str, State]) -> Iterator[str]:
    yield f"# {len(jobs)} jobs: {_counts(states)}\n"
    yield "| job | command | status | seconds |"
    yield "|---|---|---|---|"
    for job in jobs:
        state = states[job.name]
        yield f"| [{job.name}]({job.name}) | {job.command} | {state.status} | {state.seconds:.1f} |"
    for job in jobs:
        yield f"\n## {job.name}\n"
        yield f"`lossatlas {job.command} {' '.join(job.arguments)}`\n"
        if picture := _picture(folder, job):
            yield f"![{job.name}]({picture})\n"
        yield from (
            f"- {one}" for one in (_sentences(folder, job) if not states[job.name].says else [states[job.name].says])
        )


def _html(folder: Path, jobs: Sequence[Job], states: Mapping[str, State]) -> Iterator[str]:
    yield '<!doctype html><html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">'
    yield f"<title>{len(jobs)} jobs</title><style>{_STYLE}</style>"
    yield f"<h1>{len(jobs)} jobs: {_counts(states)}</h1><table><tr><th>job<th>command<th>status<th>seconds</tr>"
    for job in jobs:
        state = states[job.name]
        status = f'<td class="{escape(state.status.split()[0])}">{escape(state.status)}'
        yield f'<tr><td><a href="#{escape(job.name)}">{escape(job.name)}</a><td>{job.command}{status}<td>{state.seconds:.1f}</tr>'
    yield "</table>"
    for job in jobs:
        picture, state = _picture(folder, job), states[job.name]
        shown = (
            f'<a href="{escape(picture)}"><img src="{escape(picture)}" alt="{escape(job.name)}"></a>' if picture else ""
        )
        says = f'<p class="failed">{escape(state.says)}</p>' if state.says else ""
        listed = "" if state.says else "".join(f"<li>{escape(one)}" for one in _sentences(folder, job))
        typed = escape(f"lossatlas {job.command} {' '.join(job.arguments)}")
        yield (
            f'<section id="{escape(job.name)}"><div>{shown}</div><div><h2>{escape(job.name)}</h2><code>{typed}</code>{says}'
            f'<ul>{listed}</ul><a href="{escape(job.name)}/">all files</a></div></section>'
        )
