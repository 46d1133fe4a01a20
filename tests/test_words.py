"""Phrases that a native reader stumbles over do not come back."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
# Each has a plain word of the field: evaluate, count, cost, probe, probability, random seed, fix, depends on, not a …
WORST = [
    r"can not",
    r"of all randomness",
    r"of everything (random|that is drawn)",
    r"one door",
    r"asked through the door",
    r"even in logarithm",
    r"put through them",
    r"nobody builds",
    r"whatever runs beside",
    r"taken up where they were",
    r"to the letter",
    r"few cells for many",
    r"a chart that survives",
    r"never because a mean rests",
    r"no proof of a minimum",
    r"is said (first|under)",
    r"are read right",
    r"it thinks run by run",
    r"with error bars that cannot be argued",
    r"how high the way",
    r"hangs on how",
    r"knows nothing of them",
    r"hollow points are ghosts",
    r"every query billed",
    r"and billed\b",
    r"Answers per descent",
    r"driven out of the range",
    r"does not even double",
    r"for methods that wander",
    r"what it asked",
    r"dots are all that was asked",
    r"that were asked\b",
    r"cannot be gone on with",
    r"(as|and) its kin",
    r"ask for dL/dt",
    r"price list",
    r"goes on where it was",
    r"taken up where",
    r"two of a million",
    r"asks (every cell|nothing)",
    r"the door:",
    r"bends? downward",
]
READ = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").rglob("*.md"))]
SOURCES = sorted((ROOT / "src" / "lossatlas").rglob("*.py"))


@pytest.mark.parametrize("phrase", WORST)
def test_a_phrase_is_gone(phrase):
    # Lines are joined, since a phrase may be broken over two.
    found = re.compile(phrase.replace(" ", r"\s+"), re.IGNORECASE)
    for path in [*READ, *SOURCES]:
        text = re.sub(r'"\s*\n\s*f?"', "", path.read_text(encoding="utf-8"))
        hit = found.search(text)
        assert hit is None, f"{path.relative_to(ROOT)}: {text[max(0, hit.start() - 60) : hit.end() + 60]!r}"
