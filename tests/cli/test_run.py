"""Many jobs from one file: which there are, what is refused, and that a killed one resumes."""

import json
import os
import signal
import textwrap
import threading
import time

import pytest
from click.testing import CliRunner

from lossatlas._errors import InputError, UnknownNameError
from lossatlas.cli._jobs import Job, Runner, State, read
from lossatlas.cli._main import group
from lossatlas.cli._summary import write


def jobs_of(tmp_path, text):
    path = tmp_path / "jobs.toml"
    path.write_text(textwrap.dedent(text))
    return read(path)


def test_lists_are_jobs_and_several_lists_every_combination(tmp_path):
    jobs = jobs_of(
        tmp_path,
        """
        [defaults]
        model = "my.py:make"
        k = 3
        [[job]]
        command = "chart"
        checkpoint = ["runs/a.safetensors", "b.pt"]
        seed = [0, 1]
        exact = true
        card = false
        line = false
        through = [["c.pt", "d.pt"]]
        """,
    )
    assert [job.name for job in jobs] == ["chart-a-0-c+d", "chart-a-1-c+d", "chart-b-0-c+d", "chart-b-1-c+d"]
    assert jobs[1].arguments == (
        "--model=my.py:make", "--checkpoint=runs/a.safetensors", "--seed=1", "--exact", "--no-card",
        "--through=c.pt", "--through=d.pt",
    )  # fmt: skip


def test_positional_arguments_come_last_in_the_order_of_the_command(tmp_path):
    (job,) = jobs_of(
        tmp_path, '[[job]]\ncommand = "connect"\nname = "{a}-to-{b}"\nb = "-odd.pt"\na = "one.pt"\nseed = 4\n'
    )
    assert job.arguments == ("--seed=4", "--", "one.pt", "-odd.pt") and job.name == "one-to--odd"


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", r"has no \[\[job\]\]"),
        ("[[job]", "cannot be read"),
        ("[other]\nx = 1", "no part of a jobs file named 'other'"),
        ('[[job]]\ncommand = "paint"', "no command of a job named 'paint'"),
        ('[[job]]\ncommand = "chart"\nponts = 3', "no option of chart named 'ponts'. Did you mean 'points'"),
        ('[[job]]\ncommand = "chart"\nworkers = 3', "no option of chart named 'workers'"),
        ('[[job]]\ncommand = "chart"\nout = "x"', "got out = … in a job"),
        ('[[job]]\ncommand = "chart"\n[[job]]\ncommand = "chart"', "two jobs of the name 'chart'"),
        ('[[job]]\ncommand = "chart"\nname = "{nothing}"', "options of it in braces"),
    ],
)
def test_what_does_not_fit_is_refused_in_one_paragraph(tmp_path, text, says):
    with pytest.raises((InputError, UnknownNameError), match=says) as refused:
        jobs_of(tmp_path, text)
    assert len(str(refused.value).splitlines()) <= 1 or "cannot be read" in says


def test_a_summary_shows_each_job_its_sentences_and_its_picture(tmp_path):
    for name in ("chart-0", "curvature<b>"):
        (tmp_path / name).mkdir()
    (tmp_path / "chart-0" / "log.txt").write_text("loss at the center: 2\n- first\n- second\ncost: 3 evaluations\n")
    (tmp_path / "chart-0" / "contour.png").write_bytes(b"")
    jobs = [Job("chart-0", "chart", {}, ("--seed=0",)), Job("curvature<b>", "curvature", {}, ())]
    write(tmp_path, jobs, {"chart-0": State("done", 1.25), "curvature<b>": State("failed", 2.0, "no <loss>")})
    page, text = (tmp_path / "summary.html").read_text(), (tmp_path / "summary.md").read_text()
    assert (
        'src="chart-0/contour.png"' in page and "<li>first" in page and "no &lt;loss&gt;" in page and "<b>" not in page
    )
    assert "2 jobs: 1 done, 1 failed" in page and "| [chart-0](chart-0) | chart | done | 1.2 |" in text
    assert "- loss at the center: 2\n- first\n- second\n- cost: 3 evaluations" in text


def test_a_folder_of_other_options_is_refused(tmp_path):
    (tmp_path / "chart").mkdir()
    (tmp_path / "chart" / "job.json").write_text(
        json.dumps({"command": "chart", "arguments": ["--seed=1"], "seconds": 1.0})
    )
    with pytest.raises(InputError, match="done with other options"):
        Runner([Job("chart", "chart", {}, ("--seed=2",))], tmp_path, tmp_path, 1, print)


OWN = """
from lossatlas.demo import digits, digits_mlp
def make_model():
    return digits_mlp((8,))
def make_data():
    return tuple(part[:100] for part in digits())
"""


@pytest.mark.slow
def test_a_killed_job_goes_on_a_refused_one_fails_and_the_same_call_runs_nothing_again(tmp_path, monkeypatch):
    (tmp_path / "own_digits.py").write_text(OWN)
    jobs = jobs_of(
        tmp_path,
        """
        [defaults]
        model = "own_digits.py:make_model"
        data = "own_digits.py:make_data"
        points = 5
        card = false
        [[job]]
        command = "chart"
        [[job]]
        command = "connect"
        a = "nothing.pt"
        b = "neither.pt"
        """,
    )
    said, out = [], tmp_path / "results"
    runner = Runner(jobs, out, tmp_path, 2, said.append)

    def kill():
        while "1" not in runner._processes and "2" not in runner._processes:
            time.sleep(0.01)
        chart = next(p for p in list(runner._processes.values()) if "chart" in p.args)
        os.kill(chart.pid, signal.SIGKILL)

    killer = threading.Thread(target=kill)
    killer.start()
    runner.run()
    killer.join()
    assert runner.states["chart"].status == "done" and (out / "chart" / "chart.json").is_file()
    assert any("chart ended unexpectedly (by signal 9)" in one for one in said)
    assert (
        runner.states["connect"].status == "failed"
        and "no checkpoint file 'nothing.pt'" in runner.states["connect"].says
    )
    again = Runner(jobs[:1], out, tmp_path, 2, said.append)
    again.run()
    assert again.states["chart"].status == "done before" and not again._processes


@pytest.mark.slow
def test_a_job_that_always_dies_is_given_up_after_three(tmp_path, monkeypatch):
    (tmp_path / "own_death.py").write_text(
        "import os\ndef make_model():\n    print('last words', flush=True)\n    os._exit(7)\n"
    )
    jobs = jobs_of(
        tmp_path, '[[job]]\ncommand = "chart"\nmodel = "own_death.py:make_model"\ndata = "own_death.py:make_model"\n'
    )
    said = []
    runner = Runner(jobs, tmp_path / "results", tmp_path, 1, said.append)
    runner.run()
    assert runner.states["chart"].status == "failed" and len(said) == 3
    assert "with exit code 7 three times; last words" in runner.states["chart"].says


def test_the_list_of_jobs_is_shown_as_they_could_be_typed(tmp_path):
    (tmp_path / "jobs.toml").write_text('[[job]]\ncommand = "chart"\nseed = [1, 2]\n')
    ran = CliRunner().invoke(group, ["run", str(tmp_path / "jobs.toml"), "--list"])
    assert ran.output == "chart-1: lossatlas chart --seed=1\nchart-2: lossatlas chart --seed=2\n"
    assert not (tmp_path / "jobs-results").exists()
