"""What every row of the table has to show, as functions that raise AssertionError; and a report of them all."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import torch
from torch import Tensor

import lossatlas as la
from lossatlas import _errors
from lossatlas.surface import Sample
from lossatlas.surface.network._minibatch import draw

from ._kind import Kind, LossRow, Refusal, seeded
from ._photograph import differences, photograph

# Numbers that are zero to rounding are compared with these.
VALUE_FLOOR, VECTOR_FLOOR = 1e-3, 1e-6


class Boom(Exception):
    """An exception of the user's own."""


@dataclass(frozen=True)
class Oracle:
    """What a plain loop says of a kind at its three points."""

    points: Tensor
    values: Tensor
    gradients: Tensor
    product: Tensor | None


@cache
def oracle(kind: Kind) -> Oracle:
    """The plain loop's numbers, computed once."""
    points = kind.points()
    values = torch.tensor([kind.value(theta) for theta in points], dtype=torch.float64)
    gradients = torch.stack([kind.slope(theta) for theta in points[:2]]) if kind.gradient is None else points[:0]
    product = None if kind.products == "none" else kind.product(points[1], kind.direction())
    return Oracle(points, values, gradients, product)


def tensor(values: Any) -> Tensor:
    """Values of a surface, whatever holds them, in float64."""
    return torch.as_tensor(values).detach().double().cpu()


def close(name: str, found: Any, expected: Tensor, tolerance: float, floor: float) -> None:
    """Row by row equal, to a share of the row's length."""
    found = tensor(found).reshape(expected.shape)
    rows, wanted = (
        (found[None], expected[None]) if expected.ndim < 2 and name.startswith("product") else (found, expected)
    )
    rows, wanted = rows.reshape(len(rows), -1), wanted.reshape(len(wanted), -1)
    error = (rows - wanted).norm(dim=1) / wanted.norm(dim=1).clamp_min(floor)
    assert bool((error <= tolerance).all()), (
        f"{name}: off by {[f'{e:.2g}' for e in error.tolist()]}, of {wanted.norm(dim=1).tolist()}"
    )


def fits(refusal: Refusal, error: BaseException) -> bool:
    """Whether an error is the one that the table names."""
    kinds = tuple(getattr(_errors, name) for name in refusal.error.split("|"))
    return isinstance(error, kinds) and re.search(refusal.word, str(error), re.IGNORECASE) is not None


def make_surface(kind: Kind, model: Any) -> Any:
    """A surface of the user's model."""
    return la.NetworkSurface(model, **kind.given(model))


def either(kind: Kind, work: Callable[[], None]) -> None:
    """Do it; or see it refused where the table says so."""
    try:
        work()
    except _errors.LossAtlasError as error:
        assert kind.refusal is not None, f"refused: {type(error).__name__}: {error}"
        assert fits(kind.refusal, error), f"refused in other words: {type(error).__name__}: {error}"
        return
    assert kind.refusal is None or kind.or_right, "not refused"


def check_oracle(kind: Kind) -> None:
    """The oracle alone: parts against the whole, values against gradients, gradients against products."""
    if kind.whole is None:
        return
    model = kind.make()
    assert [n for n, _ in model.named_parameters()] == [n for n, _ in kind.make().named_parameters()], (
        "not the same twice"
    )
    for theta in kind.points():
        whole, parts = kind.whole_value(theta), kind.value(theta)
        share = abs(whole - parts) / max(abs(whole), VALUE_FLOOR)
        assert share <= (1e-12 if kind.tolerance <= 1e-10 else kind.tolerance), f"parts give {parts}, the whole {whole}"
    if not kind.smooth or kind.gradient is not None:
        return
    theta, vector, step = kind.points()[1], kind.direction(), 1e-4

    def along(read: Callable[[Tensor], Any]) -> Any:
        near = read(theta + step * vector) - read(theta - step * vector)
        return (8 * near - (read(theta + 2 * step * vector) - read(theta - 2 * step * vector))) / (12 * step)

    slope = kind.slope(theta)
    assert abs(along(kind.whole_value) - float(slope @ vector)) <= 1e-6 * float(slope.norm()) + 1e-9, "gradient"
    if kind.products == "exact":
        product = kind.product(theta, vector)
        error = float((along(kind.slope) - product).norm())
        assert error <= 1e-5 * float(product.norm()) + 1e-8, f"product: {error} of {float(product.norm())}"


def check_numbers(kind: Kind) -> None:
    """Values at three points, gradients at two, a product; twice; and what the notes have to say."""

    def work() -> None:
        model = kind.make()
        surface = make_surface(kind, model)
        if kind.refusal is not None and not kind.or_right:
            surface.values(surface.theta[None])
            surface.gradients(surface.theta[None])
            return
        truth = oracle(kind)
        points = truth.points.to(surface.theta.dtype)
        assert surface.dimension == points.shape[1], f"dimension {surface.dimension}, not {points.shape[1]}"
        assert sum(block.size for block in surface.layout.blocks) == surface.dimension
        if kind.twin is None:
            assert torch.equal(tensor(surface.theta), truth.points[0]), "θ is not the model's own point"
        first = surface.values(points)
        close("values", first, truth.values, kind.tolerance, VALUE_FLOOR)
        if kind.gradient is not None:
            refused = False
            try:
                surface.gradients(points[:1])
            except _errors.LossAtlasError as error:
                assert fits(kind.gradient, error), f"{type(error).__name__}: {error}"
                refused = True
            assert refused, "gradients are not refused"
        else:
            # The moved point first: what is left over from it must not reach the model's own.
            turned = surface.gradients(points[[1, 0]])
            close("values beside gradients", turned[0], truth.values[[1, 0]], kind.tolerance, VALUE_FLOOR)
            close("gradients", turned[1], truth.gradients[[1, 0]], kind.tolerance, VECTOR_FLOOR)
            again = surface.gradients(points[[1, 0]])
            assert torch.equal(tensor(turned[1]), tensor(again[1])), "a gradient read twice differs"
        if truth.product is not None:
            vector = kind.direction().to(surface.theta.dtype)
            found = surface.products(points[1], vector[None])
            close("product", tensor(found)[0], truth.product, kind.product_tolerance, VECTOR_FLOOR)
        assert torch.equal(tensor(first), tensor(surface.values(points))), "values read twice differ"
        said = " ".join([*surface.notes, str(surface)]).lower()
        assert all(word in said for word in kind.notes), f"notes lack {kind.notes}: {surface.notes}"
        if "cheap subset" in kind.breaks:
            assert surface.cheaper(8) is None, "a cheap subset of examples that have no rows"

    _know(kind)
    with kind.around():
        either(kind, work)


def _know(kind: Kind) -> None:
    """Compute the truth outside of what lasts around a surface: the oracle has that around itself."""
    if kind.refusal is None or kind.or_right:
        oracle(kind)


def check_slices(kind: Kind) -> None:
    """A slice through the surface, read in any way: the same numbers, and the same bits on one thread and on two."""
    if kind.refusal is not None and not kind.or_right:
        return

    def work() -> None:
        model = kind.make()
        surface = make_surface(kind, model)
        truth = oracle(kind)
        moved = (truth.points[1:] - truth.points[0]).to(surface.theta.dtype)
        frame = la.Frame(truth.points[0].to(surface.theta.dtype), moved)
        # The three points of the oracle are among them.
        coordinates = torch.tensor([[0, 0], [1, 0], [0, 1]] + [[k / 9, 1 - k / 9] for k in range(9)])
        coordinates = coordinates.to(surface.theta.dtype)
        rows = {}
        for steady, threads in ((False, 1), (True, 1), (True, 2), (True, 2)):
            with threaded(threads):
                read = surface.reader(frame, steady=steady)(coordinates).values
            close(f"slice, steady={steady}", tensor(read)[:3], truth.values, 2 * kind.tolerance, VALUE_FLOOR)
            if steady:
                rows.setdefault(threads, []).append(tensor(read))
        assert torch.equal(rows[1][0], rows[2][0]), "one thread and two differ"
        assert torch.equal(rows[2][0], rows[2][1]), "two threads, twice, differ"

    _know(kind)
    with kind.around():
        either(kind, work)


@contextmanager
def threaded(count: int) -> Iterator[None]:
    """So many threads of torch."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def check_many(kind: Kind) -> None:
    """Many points at once, as a chart evaluates them: enough for the library to look for a faster way."""
    truth = oracle(kind)
    model = kind.make()
    with kind.around():
        surface = make_surface(kind, model)
        rows = torch.arange(96) % 3
        found = surface.values(truth.points.to(surface.theta.dtype)[rows])
    close("many values", found, truth.values[rows], kind.tolerance, VALUE_FLOOR)


def check_minibatches(kind: Kind, size: int = 7) -> None:
    """Gradients over mini-batches, asked for often enough to be recorded, are those of the drawn examples."""
    assert kind.on is not None
    points, seeds, model = kind.points()[:2], torch.tensor([3, 4]), kind.make()
    chosen = draw(size, seeds, kind.examples)
    expected = torch.stack([kind.slope(theta, rows) for theta, rows in zip(points, chosen, strict=True)])
    with kind.around():
        surface = make_surface(kind, model)
        for _ in range(6):
            _, found = surface.gradients(points.to(surface.theta.dtype), Sample(size, seeds))
            close("gradients over mini-batches", found, expected, kind.tolerance, VECTOR_FLOOR)


def check_cheaper(kind: Kind, size: int = 8) -> None:
    """The surface over fewer examples is the loss on these, or there is none."""
    assert kind.on is not None
    points, model = kind.points(), kind.make()
    chosen = torch.randperm(kind.examples, generator=torch.Generator().manual_seed(0))[:size].sort().values
    with kind.around(), torch.no_grad():
        expected = torch.stack([kind.on(kind.at(theta), chosen).double() for theta in points])
        cheap = make_surface(kind, model).cheaper(size)
        if cheap is not None:
            found = cheap.values(points.to(cheap.theta.dtype))
            close("values on a subset", found, expected, kind.tolerance, VALUE_FLOOR)


def check_outputs(kind: Kind) -> None:
    """The loss of the outputs on a frame is the loss, where a surface says that it is a function of outputs."""
    truth, model = oracle(kind), kind.make()
    with kind.around():
        surface = make_surface(kind, model)
        points = truth.points.to(surface.theta.dtype)
        outputs = surface.outputs(la.Frame(points[0], points[1:] - points[0]))
        if outputs is None:
            return
        parts = outputs.read(np.array([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0]]))
        found = sum(outputs.score(k, part)[0] for k, part in enumerate(parts))
    close("loss of outputs", found, truth.values, 2 * kind.tolerance, VALUE_FLOOR)


def check_modes(kind: Kind) -> None:
    """The caller's gradient mode is of no account."""
    if kind.refusal is not None and not kind.or_right:
        return

    def work() -> None:
        truth = oracle(kind)
        models = [kind.make() for _ in range(2)]
        for mode, model in zip((torch.no_grad, torch.inference_mode), models, strict=True):
            with mode():
                surface = make_surface(kind, model)
                points = truth.points.to(surface.theta.dtype)
                close(f"values in {mode.__name__}", surface.values(points), truth.values, kind.tolerance, VALUE_FLOOR)
                if kind.gradient is None:
                    found = surface.gradients(points[[1, 0]])[1]
                    close(f"gradients in {mode.__name__}", found, truth.gradients[[1, 0]], kind.tolerance, VECTOR_FLOOR)
                if truth.product is not None:
                    vector = kind.direction().to(surface.theta.dtype)[None]
                    found = tensor(surface.products(points[1], vector))[0]
                    close(f"product in {mode.__name__}", found, truth.product, kind.product_tolerance, VECTOR_FLOOR)
            assert torch.is_grad_enabled() and not torch.is_inference_mode_enabled()
            # Nothing that was made in that mode is in the way later.
            close("values afterwards", surface.values(points), truth.values, kind.tolerance, VALUE_FLOOR)

    _know(kind)
    with kind.around():
        either(kind, work)


def check_interrupted(kind: Kind) -> None:
    """The user's model and the process around it, bit for bit, after every verb and after exceptions inside of it."""

    def work() -> None:
        model = kind.make()
        calls, trap = armed(model, kind)
        give_gradient(model)
        before = photograph(model)
        try:
            surface = make_surface(kind, model)
            theta = surface.theta
            verbs = [lambda: surface.values(theta[None] + 0.1), lambda: surface.values(theta[None])]
            if kind.gradient is None:
                verbs.append(lambda: surface.gradients(theta[None] + 0.1))
            if kind.products != "none" and (kind.refusal is None or kind.or_right):
                vector = kind.direction().to(theta.dtype)[None]
                verbs.append(lambda: surface.products(theta + 0.1, vector))
            for verb in verbs:
                verb()
                unchanged(kind, before, model)
        finally:
            unchanged(kind, before, model)
        if not trap:
            return
        expected = tensor(surface.values(theta[None] + 0.1))
        for error, call in ((Boom, 2), (KeyboardInterrupt, 1)):
            for verb in verbs:
                calls[:] = [call, error]
                try:
                    verb()
                except BaseException as caught:
                    assert error in chain(caught), f"{error.__name__} became {type(caught).__name__}: {caught}"
                    if error is KeyboardInterrupt:
                        assert isinstance(caught, KeyboardInterrupt), f"an interrupt became {caught!r}"
                calls.clear()
                unchanged(kind, before, model, f"after {error.__name__} at call {call}")
                found = tensor(surface.values(theta[None] + 0.1))
                assert torch.equal(found, expected), f"{error.__name__} at call {call} moved the surface"

    with kind.around():
        either(kind, work)


def armed(model: Any, kind: Kind) -> tuple[list[Any], bool]:
    """A hook that throws at a call of the model that is set later."""
    calls: list[Any] = []
    if not kind.trap or not isinstance(model, torch.nn.Module):
        return calls, False

    def hook(module: Any, inputs: Any, output: Any) -> None:
        if calls:
            calls[0] -= 1
            if calls[0] == 0:
                raise calls[1]("thrown from within the model")

    model.register_forward_hook(hook)
    return calls, True


def give_gradient(model: Any) -> None:
    """One parameter has a gradient already, the others have none."""
    if isinstance(model, torch.nn.Module):
        for parameter in list(model.parameters())[:1]:
            if not isinstance(parameter, torch.nn.parameter.UninitializedParameter) and parameter.requires_grad:
                parameter.grad = torch.full_like(parameter, 0.25)


def chain(error: BaseException | None) -> set[type]:
    """Types of an error and of what led to it."""
    found: set[type] = set()
    while error is not None:
        found.add(type(error))
        error = error.__cause__ or error.__context__
    return found


def unchanged(kind: Kind, before: dict[str, Any], model: Any, when: str = "") -> None:
    """The photograph is still the same."""
    if kind.unchanged:
        changed = differences(before, photograph(model))
        assert not changed, f"changed {when}: {changed[:6]}"


def check_batch_size(row: LossRow, size: int | None) -> None:
    """One L for every batch size, or a refusal, or a note that batches are part of the surface."""
    model = seeded(lambda: torch.nn.Linear(row.inputs.shape[1], row.outputs))()
    loss, data = row.loss(model), (row.inputs, row.target)
    given = {"objective": loss} if row.objective else {"loss": loss}
    twin = seeded(lambda: torch.nn.Linear(row.inputs.shape[1], row.outputs))()
    expected = []
    with torch.no_grad():
        moved = 0.3 * torch.randn(15, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
        theta = torch.cat([p.reshape(-1) for p in twin.parameters()])
        for point in (theta, theta + moved):
            torch.nn.utils.vector_to_parameters(point, twin.parameters())
            expected.append(float(row.plain(twin(row.inputs), row.target, twin)))
    try:
        surface = la.NetworkSurface(model, data=data, batch_size=size, **given)
        found = tensor(surface.values(torch.stack([surface.theta, surface.theta + moved])))
    except _errors.LossAtlasError as error:
        words = "reduction|mean|batch" if size is not None else "reduction"
        assert fits(Refusal("LossError|DataError", words), error), f"{type(error).__name__}: {error}"
        return
    try:
        close("values", found, torch.tensor(expected, dtype=torch.float64), 1e-10, VALUE_FLOOR)
    except AssertionError:
        # Said in so many words: the text of every surface says how many batches there are.
        if size is None or "batches are part of the surface" not in " ".join(surface.notes):
            raise


CHECKS = {
    "oracle": check_oracle,
    "numbers": check_numbers,
    "slices": check_slices,
    "modes": check_modes,
    "interrupted": check_interrupted,
}


@dataclass(frozen=True)
class Checked:
    """One check of one row: nothing, or why it failed, and its seconds of processor time."""

    name: str
    check: str
    failure: str | None
    seconds: float


def report(
    *words: str, checks: Iterable[str] = tuple(CHECKS), losses: bool = True, quiet: bool = False
) -> list[Checked]:
    """Run the table on the package that is installed, and print what fails.

    Args:
        words: only rows or families whose name holds one of them.
        checks: which of ``oracle``, ``numbers``, ``slices``, ``modes``, ``interrupted``.
        losses: whether the second table runs as well.
        quiet: print failures only.
    """
    from . import BATCH_SIZES, FAMILIES, LOSSES

    found: list[Checked] = []

    def run(name: str, check: str, work: Callable[[], None]) -> None:
        began, failure = time.process_time(), None
        try:
            work()
        except BaseException as error:
            if isinstance(error, KeyboardInterrupt) and "within the model" not in str(error):
                raise
            text = str(error).split("\n")[0][:220]
            failure = text if isinstance(error, AssertionError) and text else f"{type(error).__name__}: {text}"
        found.append(Checked(name, check, failure, time.process_time() - began))
        if failure is not None or not quiet:
            print(
                f"{'FAIL' if failure else 'pass'}  {name} [{check}] {found[-1].seconds:.2f}s {failure or ''}",
                flush=True,
            )

    for family, rows in FAMILIES.items():
        for row in rows:
            if not words or any(word in row.name or word == family for word in words):
                for check in checks:
                    run(f"{family}: {row.name}", check, lambda row=row, check=check: CHECKS[check](row))
    for loss in LOSSES if losses else ():
        for size in BATCH_SIZES:
            if not words or any(word in loss.name or word == "sizes" for word in words):
                run(
                    f"loss: {loss.name}",
                    f"batch_size={size}",
                    lambda loss=loss, size=size: check_batch_size(loss, size),
                )
    failed = [item for item in found if item.failure is not None]
    print(f"{len(found) - len(failed)} passed, {len(failed)} failed, {sum(i.seconds for i in found):.1f} s")
    return found
