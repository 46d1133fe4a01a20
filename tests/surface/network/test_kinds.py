"""Every kind of model, loss and data in the table equals the user's own plain loop, or is refused in the table's words."""

import warnings

import kinds
import pytest
import torch
from kinds import BATCH_SIZES, KINDS, LOSSES

import lossatlas as la

BY_NAME = {kind.name: kind for kind in KINDS}
# The table was promised to have as many rows at least.
LEAST = 60
# Compilers, and the largest of transformers: half of the table's time.
SLOW = {
    "compiled",
    "scripted",
    "traced",
    "T5",
    "CLIP with its contrast within the batch",
    "Mixtral with the auxiliary loss of its router",
    "BERT for masked words",
    "BERT with Hugging Face checkpointing",
}


@pytest.fixture(autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    with warnings.catch_warnings():
        # Scripting and tracing announce their end, whoever calls them.
        warnings.filterwarnings("ignore", category=DeprecationWarning, message=r".*torch\.jit.*")
        yield
    torch.set_num_threads(before)


def table(*, right=False):
    """All rows, or those whose numbers may be right; the slow ones marked."""
    rows = [kind for kind in KINDS if not right or kind.refusal is None or kind.or_right]
    marked = [pytest.param(kind, marks=pytest.mark.slow if kind.name in SLOW else (), id=kind.name) for kind in rows]
    return pytest.mark.parametrize("kind", marked)


def test_the_table_is_long_and_its_names_are_unique():
    assert len(KINDS) >= LEAST
    assert len(BY_NAME) == len(KINDS)
    assert set(BY_NAME) >= SLOW
    assert len({row.name for row in LOSSES}) == len(LOSSES)


@table(right=True)
def test_the_oracle_agrees_with_itself(kind):
    kinds.check_oracle(kind)


@table()
def test_values_gradients_and_products_are_the_users_own_loops(kind):
    kinds.check_numbers(kind)


@table(right=True)
def test_slices_are_the_users_own_loops_on_any_number_of_threads(kind):
    kinds.check_slices(kind)


@table(right=True)
def test_the_callers_gradient_mode_is_of_no_account(kind):
    kinds.check_modes(kind)


@table()
def test_the_users_model_is_bit_for_bit_as_it_was_whatever_happens(kind):
    kinds.check_interrupted(kind)


@pytest.mark.parametrize("error", [KeyError, AssertionError, OSError, ZeroDivisionError, kinds.Boom])
def test_the_users_own_exception_arrives_and_names_the_batch(error):
    """At the second batch, when the surface is made; and at the second batch of a later read."""
    model, calls, limit = torch.nn.Linear(4, 3).double(), [], [1]
    data = [(torch.ones(5, 4).double(), torch.zeros(5).long()), (torch.ones(4, 4).double(), torch.ones(4).long())]

    def loss(output, target):
        calls.append(len(output))
        if len(output) == 4 and calls.count(4) >= limit[0]:
            raise error("from the user's loss")
        return torch.nn.functional.cross_entropy(output, target)

    for patience in (1, 60):
        calls.clear()
        limit[0] = patience
        with pytest.raises(Exception) as caught:
            surface = la.NetworkSurface(model, loss, data)
            for _ in range(60):
                surface.values(surface.theta[None])
        said = " ".join([str(caught.value), *getattr(caught.value, "__notes__", [])])
        assert error in kinds.chain(caught.value)
        assert "from the user's loss" in said
        assert "batch 2" in said or "second batch" in said


@pytest.mark.parametrize("size", BATCH_SIZES)
@pytest.mark.parametrize("row", LOSSES, ids=lambda row: row.name)
def test_losses_and_batch_sizes(row, size):
    kinds.check_batch_size(row, size)


@pytest.mark.parametrize(
    "name",
    [
        "plain chain of layers",
        "list that grows",
        "generator kept as an attribute",
        "forward hooks",
        "state carried from batch to batch",
    ],
)
def test_a_photograph_shows_what_a_run_leaves_behind(name):
    """The check can fail: running the model by hand, as a careless surface would, is seen."""
    model = BY_NAME[name].make()
    before = kinds.photograph(model)
    assert not kinds.differences(before, kinds.photograph(model))
    if name in ("plain chain of layers", "forward hooks"):
        next(model.parameters()).data.add_(1e-12)
    else:
        BY_NAME[name].whole(model)
    assert kinds.differences(before, kinds.photograph(model))


@pytest.mark.parametrize(
    "leave",
    [
        lambda m: setattr(next(m.parameters()), "grad", torch.zeros_like(next(m.parameters()))),
        lambda m: m.train(not m.training),
        lambda m: m[0].requires_grad_(False),
        lambda m: m.register_forward_hook(lambda *_: None),
        lambda m: next(m.parameters()).register_hook(lambda g: g),
        lambda m: torch.rand(1),
        lambda m: setattr(m, "note", 1),
        lambda m: setattr(m[0], "weight", torch.nn.Parameter(m[0].weight.detach().clone())),
    ],
    ids=["gradient", "mode", "frozen", "hook", "hook on a parameter", "random state", "attribute", "another tensor"],
)
def test_a_photograph_shows_each_trace(leave):
    model = BY_NAME["plain chain of layers"].make()
    before, state = kinds.photograph(model), torch.get_rng_state()
    leave(model)
    assert kinds.differences(before, kinds.photograph(model))
    torch.set_rng_state(state)
