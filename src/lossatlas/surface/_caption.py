"""Notes that belong under every picture of a surface, told apart from notes for its record alone."""

from __future__ import annotations

from typing import final


@final
class Caption(str):
    """A note that changes what a picture of the surface means; where there is none, the picture can do without notes."""

    __slots__ = ()
