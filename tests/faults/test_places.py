"""What is no file where a file is expected, names with terminal codes, model files with a life of their own, and forks."""

import os
import signal
import threading
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

import lossatlas as la
from lossatlas.cli import main
from lossatlas.cli._job import ALONE, end_with

SECONDS = 20
MINE = """
from torch import nn
def make_model():
    return nn.Linear(3, 2)
def make_data():
    import torch
    return torch.zeros(6, 3), torch.arange(6) % 2
"""
OWN = ("--model", "my.py:make_model", "--data", "my.py:make_data")


@pytest.fixture
def ran(tmp_path, monkeypatch, capfd):
    """Runs a command that has to end within SECONDS; its exit code, and what it printed."""
    monkeypatch.chdir(tmp_path)
    Path("my.py").write_text(MINE)

    def run(*words):
        def late(*_):
            pytest.fail(f"{words} did not end")

        before = signal.signal(signal.SIGALRM, late)
        signal.alarm(SECONDS)
        try:
            with pytest.raises(SystemExit) as ended:
                main(list(words))
        finally:
            signal.alarm(0)
            signal.signal(signal.SIGALRM, before)
        out = capfd.readouterr()
        return ended.value.code, out.out + out.err

    return run


KINDS = ("a pipe", "a device", "a dangling link", "a folder")


def put(kind, path):
    if kind == "a pipe":
        os.mkfifo(path)
    elif kind == "a device":
        path.symlink_to("/dev/null")
    elif kind == "a dangling link":
        path.symlink_to("nowhere")
    else:
        path.mkdir()


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_what_is_no_file_is_refused_in_one_paragraph_wherever_one_is_read(ran, kind):
    put(kind, Path("odd.py"))
    for name in ("odd.safetensors", "odd.pt", "odd.toml"):
        put(kind, Path(name))
    for words in (
        ("dimension", "--model", "odd.py:make_model"),
        ("curvature", "--model", "my.py:make_model", "--data", "odd.py:make_data"),
        ("curvature", *OWN, "--checkpoint", "odd.safetensors"),
        ("curvature", *OWN, "--checkpoint", "odd.pt"),
        ("connect", "odd.pt", "odd.safetensors", *OWN),
        ("run", "odd.toml"),
        ("record", "odd.py"),
        ("lessons", "odd.py:MINE"),
        ("page", "odd.pt"),
    ):
        code, said = ran(*words)
        assert code == 2 and "Traceback" not in said, (words, code, said)
        assert "expected" in said.lower() or "Error" in said, (words, said)


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_what_is_no_folder_is_left_alone_where_one_is_written(ran, kind):
    if kind == "a folder":
        Path("odd").write_text("a file where a folder is wanted")
    else:
        put(kind, Path("odd"))
    before = os.lstat("odd")
    for words in (
        ("race", "four-wells", "--steps", "2", "--runs", "1", "--out", "odd/in"),
        ("lessons", "B1", "--out", "odd/in"),
    ):
        code, said = ran(*words)
        assert code == 2 and "Traceback" not in said and "odd" in said, (words, said)
    assert os.lstat("odd").st_ino == before.st_ino and not Path("nowhere").exists()


def test_terminal_codes_in_names_are_shown_and_not_obeyed(ran):
    evil = "a\x1b[2J\x1b]0;owned\x07b"
    save_file({"weight": torch.zeros(9, 9)}, f"{evil}.safetensors")
    Path(f"{evil}.py").write_text(MINE)
    for words in (
        ("curvature", *OWN, "--checkpoint", f"{evil}.safetensors"),
        ("curvature", *OWN, "--checkpoint", f"{evil}.pt"),
        ("dimension", "--model", f"{evil}.py:{evil}"),
        ("dimension", "--model", f"{evil}.py:make_model"),
        ("race", evil),
        ("race", "four-wells", "--optimizers", evil),
        ("run", evil),
        ("record", evil),
        ("page", evil),
        ("lessons", evil),
        (evil,),
        ("chart", f"--{evil}"),
    ):
        _, said = ran(*words)
        assert "\x1b" not in said and "\x07" not in said, (words, said)


def test_a_model_file_that_prints_exits_or_parses_arguments_gets_none_of_ours(ran):
    Path("parses.py").write_text(
        "import argparse, sys\nassert sys.argv[1:] == [], sys.argv\nargparse.ArgumentParser().parse_args()\n" + MINE
    )
    code, said = ran("dimension", "--model", "parses.py:make_model")
    assert code == 0 and "8" in said
    Path("prints.py").write_text("print('hello')\n" + MINE)
    code, said = ran("dimension", "--model", "prints.py:make_model")
    assert code == 0 and "hello" in said
    for how in (
        "import sys; sys.exit(0)",
        "raise SystemExit('bye')",
        "import sys; sys.exit(3)",
        "quit()",
        "raise KeyError('x')",
    ):
        Path("exits.py").write_text(f"{how}\n{MINE}")
        code, said = ran("dimension", "--model", "exits.py:make_model")
        assert code == 2 and "exits.py" in said and "Traceback" not in said, (how, code, said)


@pytest.mark.slow
def test_a_fork_while_a_thread_reads_has_its_own_surface():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 3))
    surface = la.NetworkSurface(model, "cross_entropy", (torch.randn(64, 4), torch.arange(64) % 3))
    points = surface.theta + torch.linspace(0, 1, 7)[:, None]
    truth, gradients, done = surface.values(points), surface.gradients(points)[1], threading.Event()

    def reading():
        while not done.is_set():
            surface.values(points)
            surface.gradients(points)

    threads = [threading.Thread(target=reading) for _ in range(2)]
    for thread in threads:
        thread.start()
    try:
        for _ in range(8):
            child = os.fork()
            if child == 0:
                signal.alarm(SECONDS)
                same = torch.equal(surface.values(points), truth) and torch.equal(
                    surface.gradients(points)[1], gradients
                )
                os._exit(0 if same else 3)
            assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    finally:
        done.set()
        for thread in threads:
            thread.join()


def test_a_job_ends_with_its_runner():
    theirs, ours = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(ours)
        end_with(theirs)
        signal.alarm(SECONDS)
        signal.pause()
    os.close(theirs)
    assert os.waitpid(child, os.WNOHANG) == (0, 0)
    os.close(ours)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == ALONE
