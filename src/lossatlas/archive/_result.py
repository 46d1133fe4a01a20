"""One base for what public functions return: saved and loaded whole, said in one line, shown in a notebook."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import Any, ClassVar, Self

from numpy.typing import NDArray

from lossatlas import _said
from lossatlas._errors import InputError, LossAtlasError, OutputError
from lossatlas.archive._archive import save
from lossatlas.archive._fields import Arrays, kept, lost, named, read, written
from lossatlas.archive._files import Location

results: dict[str, type[Result]] = {}
# What a notebook shows as a page that can be explored. Named, not imported: the archive knows no page.
EXPLORED = frozenset({"chart", "comparison", "race", "basins", "trajectory"})
_SHOWN_BY = "lossatlas.page"


class Result:
    """What a public function returns: a dataclass that is saved and loaded field by field.

    Arrays and tensors, wherever they stand in fields, nested dataclasses, dicts and tuples, go to the safetensors file of the
    pair, everything else to its JSON. They come back by the types that the fields are declared with; what is read never
    chooses a class or runs code. A subclass says what it holds by its fields, and in words by ``sentence`` or ``reading``.

    Attributes:
        KIND: stem of the two files, and the name under which `lossatlas.load` knows the class; empty for parts of results.
        SAYS: further attributes, or methods without arguments, whose values the record holds for its readers.
        LISTED: arrays of at most so many numbers are listed in the record as well, for its readers.
    """

    KIND: ClassVar[str] = ""
    SAYS: ClassVar[tuple[str, ...]] = ()
    LISTED: ClassVar[float] = 64

    def __init_subclass__(cls, **settings: Any) -> None:
        super().__init_subclass__(**settings)
        if "__repr__" not in vars(cls):
            # A dataclass makes a repr of its own, arrays and all, where its class has none.
            type.__setattr__(cls, "__repr__", cls.__repr__)
        if vars(cls).get("KIND"):
            known = results.setdefault(cls.KIND, cls)
            if named(known) != named(cls):
                raise InputError(
                    f"got KIND={cls.KIND!r} for {cls.__qualname__}; {known.__module__}.{known.__qualname__} is saved under that "
                    "name. Choose another."
                )
            results[cls.KIND] = cls

    @classmethod
    def _names(cls) -> dict[str, Any]:
        """Classes in the fields' types that the module imports for type checkers only."""
        return {}

    def reading(self) -> list[str]:
        """What the record says, in sentences."""
        sentence = getattr(self, "sentence", "")
        return [sentence] if sentence else []

    def _beside(self) -> dict[str, Any]:
        """What the record says beside the fields, for its readers."""
        names = ["sentence"] if hasattr(type(self), "sentence") else []
        names += ["reading"] if type(self).reading is not Result.reading else []
        found = {name: getattr(self, name) for name in (*names, *self.SAYS)}
        return {name: one() if callable(one) else one for name, one in found.items()}

    def arrays(self) -> dict[str, NDArray[Any]]:
        """The arrays by name, as they are saved: ``field``, ``field/key`` or ``field/0/field``."""
        arrays: dict[str, NDArray[Any]] = {}
        written(self, "", arrays, self.LISTED)
        return arrays

    def record(self) -> dict[str, Any]:
        """Everything but large arrays, as plain JSON values."""
        found: dict[str, Any] = written(self, "", {}, self.LISTED)
        return found

    def save(self, folder: Location) -> Path:
        """Write it into a folder: a JSON file and a safetensors file, all or nothing. `lossatlas.load` reads them back.

        Args:
            folder: created if needed.

        Returns:
            Path: the JSON file.

        Raises:
            OutputError: if the folder cannot be written, nothing is then half-written; if this is saved inside other results
                only; or if something in it would not come back.
        """
        own = type(self)
        if not self.KIND:
            raise OutputError(
                f"{_said.an(own.__name__)} has no KIND: it is saved only inside a result that holds it. Save that, or write "
                "its record() with archive.write_json."
            )
        known = results[self.KIND]
        if named(known) != named(own):
            raise OutputError(
                f"{_said.an(own.__name__)} would be loaded as {_said.an(known.__name__)}, which is saved as {self.KIND!r}; "
                "expected a KIND of its own. Give the class one."
            )
        away = list(lost(own, self, ""))
        if away:
            raise OutputError(
                f"{_said.an(own.__name__)} cannot be loaded again as it is: {'; '.join(away[:4])}{' …' * (len(away) > 4)}. "
                "Declare the field with a type that holds it, such as dict[str, np.ndarray]."
            )
        arrays: dict[str, NDArray[Any]] = {}
        record = written(self, "", arrays, self.LISTED)
        return save(folder, self.KIND, arrays, record)

    @classmethod
    def restore(cls, arrays: Arrays, record: Mapping[str, Any], **given: Any) -> Self:
        """The result that was saved.

        Args:
            arrays: as they were saved.
            record: as it was saved.
            **given: what was not saved whole: the ``surface`` that a race was run on.

        Raises:
            OutputError: if what was saved is not what this version expects.
            InputError: if the surface is another one.
        """
        try:
            found: Self = read(cls, record, "", arrays, given)
        except LossAtlasError:
            raise
        except (KeyError, IndexError, TypeError, ValueError, AttributeError) as error:
            what = str(error) if isinstance(error, TypeError | ValueError) else f"no {error}"
            raise OutputError(
                f"the record of {_said.an(cls.KIND or cls.__name__)} is damaged, or another version wrote it ({what}). Load it with "
                "that version, copy it again from where it was saved, or make it again."
            ) from error
        return found

    def __repr__(self) -> str:
        return _said.line(self, next(iter(self.reading()), "") or _sizes(self))

    def _repr_html_(self) -> str:
        title, table = getattr(self, "title", ""), getattr(self, "table", None)
        body = table()._repr_html_() if callable(table) else ""
        said = _said.block(self.reading() or [_sizes(self)], title if isinstance(title, str) and not body else "", body)
        if self.KIND not in EXPLORED:
            return said
        shown: str = import_module(_SHOWN_BY).shown(self, said)
        return shown


def _sizes(result: Result) -> str:
    """Numbers as they are, shapes of arrays, lengths of the rest."""
    said = []
    for field in kept(type(result)):
        name, value = field.name.lstrip("_"), getattr(result, field.name)
        if isinstance(value, str | bool | int | float):
            said.append(f"{name} {value:.6g}" if isinstance(value, float) else f"{name} {value}")
        elif hasattr(value, "shape"):
            said.append(f"{name} {tuple(value.shape)}")
    return ", ".join(said) or "of several parts"
