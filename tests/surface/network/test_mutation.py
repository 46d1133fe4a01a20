"""Each shortcut's proof switched off in turn: then some kind of the table must give wrong numbers.

A shortcut without its proof is used on every surface. The kinds that break one are named in the table (`Kind.breaks`);
that none of them fails means that the proof guards nothing, or that the table has no kind that needs it.

* private copy: models whose copy is the model itself, shares its weights, or loses a replaced forward; losses that close
  over the model.
* functional and vmap: checkpointing, control flow by data, custom functions, hooks on parameters, weights read as numbers.
* layer chain: replaced forward, patched class or function, global and ordinary hooks.
* cuts and joined batches: class weights, ignored labels, losses that are no mean, noise by place.
* cheap subset: graphs and adjacency buffers.
* threads: the global generator, globals, class attributes.
* no_grad: derivatives within a forward or an objective.
* double backward: functions that are differentiable once; weight norm, whose second derivative in torch is wrong.
* graph measure: a model that differentiates in its own forward.
"""

import importlib

import kinds
import pytest
import torch
from kinds import KINDS, LOSSES

HOOK = "lossatlas.surface.network._proof"


def proof():
    """The module that holds the proofs, or None as long as it is not there."""
    try:
        return importlib.import_module(HOOK)
    except ModuleNotFoundError:
        return None


def shortcuts():
    """Names of the shortcuts; `_proof.shortcuts()` gives them."""
    found = proof()
    return tuple(found.shortcuts()) if found is not None and hasattr(found, "shortcuts") else ()


@pytest.fixture
def unproven():
    """A context in which one shortcut is taken without its proof: `_proof.unproven(name)`."""
    found = proof()
    if found is None or not hasattr(found, "unproven"):
        pytest.skip("this package has no switch for its proofs")
    return found.unproven


def witnesses(name):
    """Kinds that break a shortcut, or all of them where the table does not name it."""
    named = [kind for kind in KINDS if name in kind.breaks]
    return named or [kind for kind in KINDS if kind.refusal is None]


@pytest.mark.parametrize("name", shortcuts() or ["none"])
def test_a_shortcut_without_its_proof_is_caught(name, unproven):
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with unproven(name):
            assert any(fails(work) for work in checks(name)), f"no kind needs the proof of {name}"
    finally:
        torch.set_num_threads(before)


def checks(name):
    """What is tried, one after another, until one fails."""
    for kind in witnesses(name):
        for check in (kinds.check_numbers, kinds.check_slices):
            yield lambda kind=kind, check=check: check(kind)
    for row in LOSSES:
        yield lambda row=row: kinds.check_batch_size(row, 3)


def fails(work):
    """Whether a check fails; an error of any kind counts, since nobody was to see one."""
    try:
        work()
    except Exception:
        return True
    return False
