"""Charts of loss surfaces and races on them: every evaluation is counted, every estimate comes with its error.

Names are imported on first use, so that `import lossatlas` and the command line do not wait for torch. They are listed
once, in `__init__.pyi`, which type checkers read too.
"""

import ast
import pkgutil
import sys
from types import ModuleType
from typing import Any

from lossatlas._imports import imported


def _homes() -> dict[str, str]:
    """The module of each public name, as the stub file says."""
    stub = ast.parse(pkgutil.get_data("lossatlas", "__init__.pyi") or b"")
    imports = [node for node in stub.body if isinstance(node, ast.ImportFrom)]
    return {alias.name: str(node.module) for node in imports for alias in node.names}


_HOMES = _homes()

__version__ = "0.1.0"
__all__ = sorted(_HOMES)


class _Package(ModuleType):
    """A package whose functions `chart` and `race` live in rooms of the same names.

    Importing a room binds its module to the room's name here; where a public function bears that name, it wins.
    """

    def __setattr__(self, name: str, value: Any) -> None:
        if isinstance(value, ModuleType) and _HOMES.get(name) == f"lossatlas.{name}":
            value = getattr(value, name)
        super().__setattr__(name, value)

    def __getattr__(self, name: str) -> Any:
        if name not in _HOMES:
            raise AttributeError(f"module 'lossatlas' has no attribute {name!r}")
        value = getattr(imported(_HOMES[name]), name)
        super().__setattr__(name, value)
        return value

    def __dir__(self) -> list[str]:
        return sorted({*(name for name in vars(self) if name.startswith("__")), *__all__})


sys.modules[__name__].__class__ = _Package
