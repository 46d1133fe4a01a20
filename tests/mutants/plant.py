"""Plants the mistakes of mutants.toml in a copy of the package, one at a time, and runs the quick tests of their room: none may live."""

from __future__ import annotations

import argparse
import contextlib
import io
import os
import shutil
import signal
import sys
import tempfile
import time
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path

ROOT = Path(__file__).parents[2]
LIST = Path(__file__).with_name("mutants.toml")
PACKAGE = Path("src/lossatlas")
SECONDS = 120
# How pytest ends: a test failed, or all passed. Anything else (no test found, an error while collecting) proves nothing.
FAILED, PASSED = 1, 0


@dataclass(frozen=True)
class Mutant:
    """One mistake: in `file` of the package, `old` (which occurs there once) becomes `new`; `tests` are to find it."""

    file: str
    old: str
    new: str
    tests: tuple[str, ...]
    wrong: str

    @property
    def room(self) -> str:
        return self.file.partition("/")[0].removesuffix(".py").lstrip("_")

    def problem(self, root: Path = ROOT) -> str:
        """Why this entry plants nothing; empty where it does."""
        path = root / PACKAGE / self.file
        if not path.is_file():
            return f"{self.file}: there is no such file"
        times = path.read_text().count(self.old)
        if times != 1:
            return f"{self.file}: {self.old!r} occurs {times} times, not once"
        if self.old == self.new:
            return f"{self.file}: {self.old!r} is replaced by itself"
        missing = [test for test in self.tests if not (root / "tests" / test.partition("::")[0]).is_file()]
        return f"{self.file}: there are no tests {', '.join(missing)}" if missing or not self.tests else ""


def listed() -> list[Mutant]:
    """All of mutants.toml, in its order."""
    entries = tomllib.loads(LIST.read_text())["mutant"]
    return [Mutant(**{**entry, "tests": tuple(entry["tests"])}) for entry in entries]


@contextlib.contextmanager
def copied() -> Iterator[Path]:
    """A copy of what pytest needs, where files may be changed."""
    with tempfile.TemporaryDirectory(prefix="mutants-") as folder:
        copy = Path(folder)
        # With what is compiled already: modification times are kept.
        unwanted = shutil.ignore_patterns("static")
        for part in ("src", "tests"):
            shutil.copytree(ROOT / part, copy / part, ignore=unwanted)
        for file in ("pyproject.toml", "README.md"):
            shutil.copy(ROOT / file, copy / file)
        yield copy


def tested(copy: Path, tests: tuple[str, ...], limit: float = SECONDS) -> tuple[int, str, float]:
    """pytest's exit code (−1 after the limit), the first failure, and the seconds: in a child of this process, which is warm."""
    begin = time.monotonic()
    report = copy / "report.txt"
    child = os.fork()
    if child == 0:
        with report.open("w", buffering=1) as text, contextlib.redirect_stdout(text), contextlib.redirect_stderr(text):
            os.setsid()
            os.chdir(copy)
            sys.dont_write_bytecode = True
            sys.path.insert(0, str(copy / "src"))
            os.environ["PYTHONPATH"] = str(copy / "src")
            import pytest

            wanted = [f"tests/{test}" for test in tests]
            quick = ["-m", "not slow and not ui and not faults"]
            code = pytest.main([*wanted, *quick, "-x", "-q", "-p", "no:cacheprovider", "--tb=line", "--no-header"])
        os._exit(int(code))
    while True:
        ended, status = os.waitpid(child, os.WNOHANG)
        if ended:
            code = os.waitstatus_to_exitcode(status)
            break
        if time.monotonic() - begin > limit:
            os.killpg(child, signal.SIGKILL)
            os.waitpid(child, 0)
            code = -1
            break
        time.sleep(0.02)
    first = next((line for line in report.read_text().splitlines() if line.startswith("FAILED")), "")
    return code, first.removeprefix("FAILED ").partition(" - ")[0], time.monotonic() - begin


def planted(copy: Path, mutant: Mutant) -> tuple[int, str, float]:
    """What the tests say of the copy with this mistake in it; the file is put back."""
    path = copy / PACKAGE / mutant.file
    sound, times = path.read_text(), path.stat()
    path.write_text(sound.replace(mutant.old, mutant.new))
    try:
        return tested(copy, mutant.tests)
    finally:
        path.write_text(sound)
        os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))


def warm() -> None:
    """What nearly every test imports, once; nothing of the package itself."""
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    os.environ["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"
    os.environ["MPLBACKEND"] = "agg"
    for name in ("matplotlib.pyplot", "numpy", "pytest", "scipy.optimize", "scipy.stats", "torch.fx", "torch.func"):
        import_module(name)


def table(rows: list[tuple[Mutant, str, str, float]]) -> str:
    """The results as Markdown."""
    lived = sum(how != "killed" for _, how, _, _ in rows)
    seconds = sum(took for *_, took in rows)
    text = io.StringIO()
    text.write("# Mutants\n\n")
    text.write(
        "Mistakes planted one at a time in a copy of the package (`make mutants`; the list is `tests/mutants/mutants.toml`),\n"
    )
    text.write("and the quick tests that found them.\n\n")
    text.write(f"{len(rows)} planted, {len(rows) - lived} killed, {lived} lived; {seconds:.0f} s on one core.\n\n")
    text.write("| file | mistake | result | by |\n|---|---|---|---|\n")
    for mutant, how, by, _ in rows:
        short = by.rpartition("/")[2].replace("::", ": ")
        text.write(f"| {mutant.file} | {mutant.wrong} | {how} | {short.replace('|', '/')} |\n")
    return text.getvalue()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("words", nargs="*", help="only mutants whose file or sentence holds one of these words")
    parser.add_argument("--out", type=Path, help="write the table there, of a run over all mutants")
    given = parser.parse_args()
    chosen = [m for m in listed() if not given.words or any(word in f"{m.file} {m.wrong}" for word in given.words)]
    problems = [problem for mutant in chosen if (problem := mutant.problem())]
    if problems or not chosen:
        print("\n".join(problems) or f"no mutant holds one of {given.words}")
        return 2
    warm()
    rows = []
    with copied() as copy:
        import compileall

        compileall.compile_dir(copy / "src", quiet=1)
        # Once, all together: a test that fails without a mistake proves none.
        code, by, _ = tested(
            copy, tuple(dict.fromkeys(test for mutant in chosen for test in mutant.tests)), 10 * SECONDS
        )
        if code != PASSED:
            print(f"without a mistake the tests end with {code}: {by}")
            return 2
        for mutant in chosen:
            code, by, took = planted(copy, mutant)
            how = {FAILED: "killed", PASSED: "LIVED", -1: f"no end within {SECONDS} s"}.get(
                code, f"no test ran ({code})"
            )
            rows.append((mutant, how, by, took))
            print(f"{how:8} {took:5.1f} s  {mutant.file}: {mutant.wrong}  {by}", flush=True)
    if given.out is not None and not given.words:
        given.out.write_text(table(rows))
    lived = [row for row in rows if row[1] != "killed"]
    print(f"{len(rows)} planted, {len(rows) - len(lived)} killed, {len(lived)} lived")
    return 1 if lived else 0


if __name__ == "__main__":
    sys.exit(main())
