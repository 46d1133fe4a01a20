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
# Compilers, transformers and simulations: half of the table's time.
LONG = {
    "compiled",
    "scripted",
    "traced",
    "Llama",
    "T5",
    "CLIP with its contrast within the batch",
    "Mixtral with the auxiliary loss of its router",
    "BERT for masked words",
    "BERT with Hugging Face checkpointing",
    "BERT that classifies, with its own loss",
    "BERT that classifies, with a loss of logits",
    "GPT-2 with ignored labels",
    "GPT-2 with ignored labels, batch by batch",
    "GPT-2 with ignored labels in batches of eight",
    "transformer encoder with a mask",
    "detection with matching",
    "deep equilibrium",
    "neural differential equation",
    "LSTM in two directions",
    "GRU",
    "transformer encoder with its fast path",
    "ViT of transformers",
    "ViT of transformers with a named loss",
}
# What every check is made on in a quick run; the whole table takes five minutes.
QUICK = {
    "plain chain of layers",
    "gradient checkpointing",
    "copying raises",
    "tied weights",
    "new weight norm",
    "float32",
    "autocast in the forward",
    "list that grows",
    "activation in a global variable",
    "PINN that marks its input",
    "graph object with a loss",
    "L2 penalty that closes over the model",
    "class weights, batch by batch",
}

# Quick rows that are drawn from and cut, one by one or side by side.
ALIKE = {"plain chain of layers", "gradient checkpointing", "PINN that marks its input"}


@pytest.fixture(autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    with warnings.catch_warnings():
        # Scripting and tracing announce their end, whoever calls them.
        warnings.filterwarnings("ignore", category=DeprecationWarning, message=r".*torch\.jit.*")
        yield
    torch.set_num_threads(before)


def table(*, right=False, telling=False):
    """All rows, or those whose numbers may be right; those that are left to a slow run are marked.

    Args:
        right: leave out what is refused.
        telling: whether a quick run has all that breaks a shortcut or is refused, beside the rows of `QUICK`.
    """
    marked = []
    for kind in KINDS:
        if right and kind.refusal is not None and not kind.or_right:
            continue
        quick = kind.name in QUICK or (telling and (kind.breaks or kind.refusal is not None) and kind.name not in LONG)
        marked.append(pytest.param(kind, marks=() if quick else pytest.mark.slow, id=kind.name))
    return pytest.mark.parametrize("kind", marked)


def test_the_table_is_long_and_its_names_are_unique():
    assert len(KINDS) >= LEAST
    assert len(BY_NAME) == len(KINDS)
    assert set(BY_NAME) >= QUICK | LONG
    assert len({row.name for row in LOSSES}) == len(LOSSES)


@table(right=True)
def test_the_oracle_agrees_with_itself(kind):
    kinds.check_oracle(kind)


@table(telling=True)
def test_values_gradients_and_products_are_the_users_own_loops(kind):
    kinds.check_numbers(kind)


@table(right=True)
def test_slices_are_the_users_own_loops_on_any_number_of_threads(kind):
    kinds.check_slices(kind)


@pytest.mark.slow
@table(right=True)
def test_the_callers_gradient_mode_is_of_no_account(kind):
    kinds.check_modes(kind)


@pytest.mark.slow
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


@pytest.mark.slow
@pytest.mark.parametrize(
    "kind",
    [
        pytest.param(kind, marks=() if kind.name in ALIKE else pytest.mark.slow, id=kind.name)
        for kind in KINDS
        if kind.on is not None and kind.refusal is None and kind.name not in LONG
    ],
)
def test_mini_batches_subsets_and_many_points_are_the_users_own_loops(kind):
    if kind.gradient is None:
        kinds.check_minibatches(kind)
    kinds.check_cheaper(kind)
    kinds.check_many(kind)
    kinds.check_outputs(kind)


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
