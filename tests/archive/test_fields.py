"""What a result is declared with decides what comes back: what would not is refused when it is saved, in a sentence."""

from __future__ import annotations

import enum
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, make_dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import pytest
import torch

import lossatlas as la
from lossatlas import archive
from lossatlas.optimize import Optimizer

if TYPE_CHECKING:
    from somewhere import Other

ARRAY = np.arange(3.0)
KINDS = (f"of-a-type-{k}" for k in range(1000))


@dataclass(frozen=True, eq=False)
class Inner(archive.Result):
    values: np.ndarray


@dataclass(frozen=True, eq=False)
class Deeper(Inner):
    more: int = 0


def holder(hint: Any, value: Any) -> archive.Result:
    """A result with one field of a declared type."""
    space = {"KIND": next(KINDS), "__module__": __name__}
    made = make_dataclass("Holder", [("one", hint)], bases=(archive.Result,), namespace=space, frozen=True, eq=False)
    return made(value)


class Color(enum.Enum):
    RED = "red"


@pytest.mark.parametrize(
    ("hint", "value"),
    [
        (Any, ARRAY),
        (Any, torch.ones(2)),
        (object, ARRAY),
        (dict, {"a": ARRAY}),
        (list, [ARRAY]),
        (tuple, (1, ARRAY)),
        (dict[str, Any], {"a": {"b": [ARRAY]}}),
        (dict[str, Any] | None, {"a": ARRAY}),
        (dict[str, float] | list[float], {"a": ARRAY}),
        (Sequence[float], ARRAY),
        (Sequence, [ARRAY]),
        (float | None, np.array(1.0)),
        (tuple[float, ...], ARRAY),
        (Any, Inner(ARRAY)),
        (dict[str, Any], {"a": Inner(ARRAY)}),
        (Inner, Deeper(ARRAY)),
        (dict[str, Any], {"a": Path("x")}),
        (dict[str, Any], {"a": la.optimizer("adam")}),
        (float, 10**400),
        (tuple[float, ...], (1.0, -(10**400))),
    ],
    ids=str,
)
def test_what_would_not_come_back_is_refused(hint, value, tmp_path):
    one = holder(hint, value)
    with pytest.raises(
        la.InputError, match=r"Holder cannot be loaded again as it is: 'one.*Declare the field"
    ) as refused:
        one.save(tmp_path)
    assert "\n" not in str(refused.value) and not list(tmp_path.iterdir())
    assert one.record()  # the record is for reading


@pytest.mark.parametrize(
    ("hint", "value"),
    [
        (Sequence[np.ndarray], [ARRAY, ARRAY + 1]),
        (Iterable[np.ndarray], (ARRAY,)),
        (Sequence[Inner], (Inner(ARRAY),)),
        (Sequence[str], ["a", "b"]),
        (dict[str, np.ndarray], {"a": ARRAY}),
        (dict[str, Any] | dict[str, np.ndarray], {"a": ARRAY}),
        (dict[str, Any] | dict[str, np.ndarray], {"a": [1, None]}),
        (tuple[float, ...] | np.ndarray, ARRAY),
        (tuple[float, ...] | np.ndarray, (1.0, 2.0)),
        (float | np.ndarray, np.array(1.5)),
        (float | np.ndarray, 1.5),
        (int | Any, {"a": [1]}),
        (archive.Status | str, "strange"),
        (archive.Status | str, archive.Status.INTERRUPTED),
        (Color | int, 3),
        (Color | str, "blue"),
        (Optimizer | str, "no optimizer"),
        (Optimizer | str, la.optimizer("adam")),
        (Path | None, Path("a/b")),
        (tuple[Path, ...], (Path("a"), Path("b"))),
        (float, 2**300),
        (int, 10**400),
    ],
    ids=str,
)
def test_what_is_declared_comes_back(hint, value, tmp_path):
    back = la.load(holder(hint, value).save(tmp_path)).one
    wanted = tuple(value) if isinstance(value, list) else value
    if isinstance(wanted, tuple) and isinstance(wanted[0], Inner):
        back, wanted = [one.values for one in back], [one.values for one in wanted]
    else:
        assert isinstance(back, float if hint is float else type(wanted))
    if isinstance(value, dict | float | int):
        assert list(back if isinstance(back, dict) else [back]) == list(value if isinstance(value, dict) else [value])
    np.testing.assert_equal(back, wanted)


def test_a_number_beyond_floats_is_refused_when_it_is_read():
    one = holder(float, 1.0)
    with pytest.raises(la.InputError, match="one is beyond the largest float"):
        type(one).restore({}, {"one": 10**400})


def test_an_array_under_a_type_without_arrays_is_refused_when_it_is_read():
    for hint in (Any, dict[str, Any], list[float]):
        one = holder(hint, None)
        for place in ("one", "one/a"):
            with pytest.raises(la.InputError, match=r"is an array, expected|is a dict"):
                type(one).restore({place: ARRAY}, {"one": {"a": {"shape": [3]}} if place == "one/a" else [0.0, 1.0]})


@dataclass(frozen=True, eq=False)
class Blind(archive.Result):
    KIND: ClassVar[str] = "blind-of-the-tests"

    saved: Other
    aside: Other = field(default=None, metadata=archive.UNSAVED)


@dataclass(frozen=True, eq=False)
class Seeing(Blind):
    KIND: ClassVar[str] = "seeing-of-the-tests"

    @classmethod
    def _names(cls):
        return {"Other": Inner}


def test_a_class_for_type_checkers_only_is_refused_where_it_is_saved(tmp_path):
    with pytest.raises(la.InputError, match=r"'saved' of Blind is declared with 'Other'.*_names") as refused:
        Blind(Inner(ARRAY)).save(tmp_path)
    assert "\n" not in str(refused.value) and repr(Blind(3)) == "<Blind: saved 3>"
    assert np.array_equal(la.load(Seeing(Inner(ARRAY), 3).save(tmp_path)).saved.values, ARRAY)


@dataclass(frozen=True, eq=False)
class Base(archive.Result):
    KIND: ClassVar[str] = "base-of-the-tests"

    values: np.ndarray


class Derived(Base):
    """Without a KIND of its own."""


def test_a_class_without_a_kind_of_its_own_is_not_saved_as_its_parent(tmp_path):
    assert type(la.load(Base(ARRAY).save(tmp_path))) is Base
    with pytest.raises(la.InputError, match=r"a Derived would be loaded as a Base, .* a KIND of its own"):
        Derived(ARRAY).save(tmp_path)


@pytest.mark.parametrize(
    ("tensor", "said"),
    [
        (torch.ones(2).to(torch.float8_e4m3fn), "strided float8_e4m3fn on cpu"),
        (torch.eye(2).to_sparse(), "sparse_coo float32 on cpu"),
        (torch.empty(2, device="meta"), "float32 on meta"),
    ],
)
def test_tensors_that_cannot_be_stored_are_refused(tensor, said, tmp_path):
    with pytest.raises(la.InputError, match=said) as refused:
        holder(torch.Tensor, tensor).save(tmp_path)
    assert "'one'" in str(refused.value) and "\n" not in str(refused.value) and not list(tmp_path.iterdir())


def test_conjugated_and_negated_views_are_stored_as_the_numbers_they_show(tmp_path):
    numbers = torch.tensor([1 + 2j, 3 - 4j], dtype=torch.complex64)
    for k, (view, plain) in enumerate([(numbers.conj(), [1 - 2j, 3 + 4j]), (numbers.conj().imag, [-2.0, 4.0])]):
        assert view.is_conj() or view.is_neg()
        assert la.load(holder(torch.Tensor, view).save(tmp_path / str(k))).one.tolist() == plain


def test_every_saved_file_says_what_wrote_it(tmp_path):
    content = archive.read_json(holder(int, 1).save(tmp_path))
    assert content["versions"].keys() == {"lossatlas", "torch", "numpy", "python"}
    assert content["versions"]["torch"] == torch.__version__
