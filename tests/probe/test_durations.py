"""Seconds and bytes in the unit in which they are read."""

import pytest

from lossatlas.probe._forecast import duration, size


@pytest.mark.parametrize(
    ("seconds", "said"),
    [
        (0.25, "250 ms"),
        (1.5, "1.5 s"),
        (119, "119.0 s"),
        (121, "2 min"),
        (7140, "119 min"),
        (7260, "2.0 h"),
        (36000, "10.0 h"),
    ],
)
def test_seconds_are_said_in_their_unit(seconds, said):
    assert duration(seconds) == said


def test_bytes_are_said_in_their_unit():
    assert [size(n) for n in (12, 3400, 5_600_000, 78 * 10**8)] == ["12 bytes", "3.4 kB", "5.6 MB", "7.8 GB"]
