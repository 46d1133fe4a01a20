"""Files that a process was killed over: the earlier ones are there, and what it left is taken up and not left for good."""

import os

import numpy as np
import pytest

from lossatlas import archive
from lossatlas._drafts import draft

STEPS = {"fsync": 2, "link": 1, "replace": 2, "unlink": 3}


def dies(job, name, call):
    """Run a job in a fork that ends at once, as if killed, before a call of a function of `os`."""
    child = os.fork()
    if child == 0:
        count, real = [], getattr(os, name)

        def end(*args, **settings):
            count.append(args)
            if len(count) == call:
                os._exit(9)
            return real(*args, **settings)

        setattr(os, name, end)
        job()
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


@pytest.mark.slow
@pytest.mark.parametrize("name", STEPS)
def test_wherever_a_save_is_killed_the_earlier_result_is_there_and_the_next_leaves_no_trace(tmp_path, name):
    ended = []
    for call in range(1, STEPS[name] + 1):
        folder = tmp_path / f"{call}"
        archive.save(folder, "chart", {"a": np.zeros(3)}, {"same": True})
        job = lambda folder=folder: archive.save(folder, "chart", {"a": np.zeros(3)}, {"same": True})  # noqa: E731
        ended.append(dies(job, name, call))
        _, arrays, record = archive.load(folder)
        assert arrays["a"].tolist() == [0, 0, 0] and record["same"] is True
        job()
        assert {path.name for path in folder.iterdir()} == {"chart.json", "chart.safetensors"}
    assert 9 in ended


def test_a_draft_belongs_to_one_process_at_a_time(tmp_path):
    path = tmp_path / "page.html"
    with draft(path) as (one, first), draft(path) as (two, second):
        assert one != two
        for file in (first, second):
            file.write(b"whole")
        two.replace(path)
        with draft(path) as (three, _):
            assert three not in (one, two)
    assert [one.name for one in tmp_path.iterdir()] == ["page.html"] and path.read_bytes() == b"whole"


def test_a_link_in_the_place_of_a_draft_is_not_followed(tmp_path):
    (tmp_path / ".page.html.new").symlink_to(tmp_path / "elsewhere")
    with draft(tmp_path / "page.html") as (own, file):
        file.write(b"here")
        own.replace(tmp_path / "page.html")
    assert not (tmp_path / "elsewhere").exists() and (tmp_path / "page.html").read_bytes() == b"here"
