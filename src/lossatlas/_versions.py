"""What made a result: the versions that stand in every saved file."""

from __future__ import annotations

import platform
from importlib.metadata import version


def versions() -> dict[str, str]:
    """Versions of this package, torch, NumPy and Python."""
    import numpy as np
    import torch

    return {
        "lossatlas": version("lossatlas"),
        "torch": str(torch.__version__),
        "numpy": np.__version__,
        "python": platform.python_version(),
    }
