"""The commands."""

from lossatlas.cli._main import main as main
