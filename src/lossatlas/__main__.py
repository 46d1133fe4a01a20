"""`python -m lossatlas`: the commands, for launchers that start a module."""

from lossatlas.cli import main

if __name__ == "__main__":
    main()
