"""One HTML page without scripts or outside files: headings, sentences, tables, and pictures beside it."""

from __future__ import annotations

import html
from dataclasses import dataclass, field
from pathlib import Path

from lossatlas import archive

_STYLE = """
body { font: 16px/1.55 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem; color: #1c1c1c; }
h1 { font-size: 1.8rem; } h2 { margin-top: 2.5rem; border-bottom: 1px solid #ccc; padding-bottom: .2rem; }
figure { margin: 1rem 0; } img { max-width: 100%; height: auto; } figcaption { color: #444; font-size: .92rem; }
.pair { display: grid; grid-template-columns: repeat(auto-fit, minmax(20rem, 1fr)); gap: 1rem; }
.wide { overflow-x: auto; } table { border-collapse: collapse; font-size: .88rem; font-variant-numeric: tabular-nums; }
caption { text-align: left; font-weight: 600; padding: .3rem 0; }
th, td { border-bottom: 1px solid #ddd; padding: .25rem .6rem; text-align: right; }
th:first-child, td:first-child { text-align: left; } code { background: #f3f3f3; padding: 0 .25rem; }
"""


@dataclass
class Page:
    """Collects parts in order and writes them at once.

    Attributes:
        title: of the page.
        parts: HTML, in order.
    """

    title: str
    parts: list[str] = field(default_factory=list)

    def heading(self, text: str) -> None:
        """A section."""
        self.parts.append(f"<h2>{html.escape(text)}</h2>")

    def text(self, *sentences: str) -> None:
        """A paragraph."""
        self.parts.append(f"<p>{html.escape(' '.join(sentences))}</p>")

    def items(self, sentences: list[str]) -> None:
        """A list."""
        self.parts.append("<ul>" + "".join(f"<li>{html.escape(s)}</li>" for s in sentences) + "</ul>")

    def pictures(self, *pictures: tuple[str, str]) -> None:
        """Pictures side by side where there is room: file name beside the page, and caption."""
        figures = "".join(
            f'<figure><img src="{html.escape(name)}" alt="{html.escape(caption)}">'
            f"<figcaption>{html.escape(caption)}</figcaption></figure>"
            for name, caption in pictures
        )
        self.parts.append(f'<div class="pair">{figures}</div>' if len(pictures) > 1 else figures)

    def table(self, columns: list[str], rows: list[list[str]], caption: str) -> None:
        """A table of text."""
        head = "".join(f"<th>{html.escape(column)}</th>" for column in columns)
        body = "".join("<tr>" + "".join(f"<td>{html.escape(cell)}</td>" for cell in row) + "</tr>" for row in rows)
        self.parts.append(
            f'<div class="wide"><table><caption>{html.escape(caption)}</caption><thead><tr>{head}</tr></thead>'
            f"<tbody>{body}</tbody></table></div>"
        )

    def write(self, path: Path) -> None:
        """Write the page, whole or not at all."""
        title = html.escape(self.title)
        archive.write_text(
            path,
            "<!doctype html>\n"
            f'<html lang="en"><head><meta charset="utf-8"><title>{title}</title>'
            '<meta name="viewport" content="width=device-width, initial-scale=1">'
            "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; img-src 'self' data: file:; "
            "style-src 'unsafe-inline'\">"
            f"<style>{_STYLE}</style></head><body><h1>{title}</h1>\n" + "\n".join(self.parts) + "\n</body></html>\n",
        )
