"""Each shortcut's proof switched off in turn: then some kind of the table must give wrong numbers.

A shortcut without its proof is used on every surface. That no kind fails then means that the proof guards nothing, or
that the table has no kind that needs it.
"""

import sys

import kinds
import pytest
import torch
from kinds import KINDS, LOSSES

from lossatlas.surface.network import _cuts
from lossatlas.surface.network._proof import shortcuts
from lossatlas.surface.network._shortcut import Shortcut

BY_NAME = {kind.name: kind for kind in KINDS}
BY_LOSS = {row.name: row for row in LOSSES}


def by_three(loss):
    """A row of the second table in batches of three."""
    kinds.check_batch_size(loss, 3)


# What shows first that a proof is missing: rows of the table with what is looked at.
WITNESSES = {
    "cutting or joining batches": [(by_three, "root mean square"), (by_three, "dice")],
    "evaluation without a graph": [
        (kinds.check_numbers, "forward that differs where gradients are off"),
        (kinds.check_numbers, "PINN that marks its input"),
    ],
    "a private copy of the model": [
        (kinds.check_numbers, "L2 penalty that closes over the model"),
        (kinds.check_numbers, "copy that shares the weights"),
    ],
    "evaluation on several threads": [
        (kinds.check_slices, "activation in a global variable"),
        (kinds.check_slices, "activation in a class attribute"),
        (kinds.check_slices, "VAE that seeds the global generator"),
    ],
    "a functional call of a private copy": [
        (kinds.check_numbers, "gradient checkpointing"),
        (kinds.check_numbers, "hook on a parameter"),
        (kinds.check_numbers, "reads its weight under another name"),
    ],
    "one vectorized pass for several points": [(kinds.check_many, "reads its weight under another name")],
    "mini-batches in one pass": [
        (kinds.check_minibatches, "reads its weight under another name"),
        (kinds.check_minibatches, "hook on a parameter"),
    ],
    "folded batch norm": [(kinds.check_cheaper, "batch norm with a replaced forward")],
    "double backward": [(kinds.check_numbers, "old weight norm"), (kinds.check_numbers, "new weight norm")],
    "the layer chain": [
        (kinds.check_slices, "patched class"),
        (kinds.check_slices, "patched function of torch"),
        (kinds.check_slices, "global forward hook"),
    ],
    "interpolation of outputs": [(kinds.check_outputs, "loss that reads an activation")],
}
PAIRS = [pytest.param(*pair, id=f"{name}: {pair[1]}") for name in WITNESSES for pair in WITNESSES[name]]


@pytest.fixture(autouse=True)
def one_thread():
    """Kernels of one thread, and threads that take turns often."""
    before, interval = torch.get_num_threads(), sys.getswitchinterval()
    torch.set_num_threads(1)
    sys.setswitchinterval(1e-5)
    yield
    sys.setswitchinterval(interval)
    torch.set_num_threads(before)


def row(check, name):
    """The row of the table that a check is made on."""
    return BY_LOSS[name] if check is by_three else BY_NAME[name]


def fails(check, name):
    """Whether a check fails; an error of any kind counts, since nobody was to see one."""
    wanted = row(check, name)
    try:
        check(wanted)
    except Exception:
        return True
    return False


def descendants(kind):
    for one in kind.__subclasses__():
        yield one
        yield from descendants(one)


def test_every_shortcut_has_its_witnesses():
    assert set(WITNESSES) == set(shortcuts())


@pytest.mark.parametrize("name", WITNESSES)
def test_a_shortcut_without_its_proof_is_caught(name, monkeypatch):
    (kind,) = [kind for kind in descendants(Shortcut) if getattr(kind, "name", "") == name]
    if kind is _cuts.Cuts:
        # Its proof also finds what the loss averages over: without a batch to split it takes the mean.
        monkeypatch.setattr(_cuts, "_telling", lambda batches: None)
    else:
        monkeypatch.setattr(kind, "proves", lambda *_: "")
    # Threads race by chance: they are given several starts.
    tries = [witness for _ in range(5) for witness in WITNESSES[name]]
    assert any(fails(*witness) for witness in tries), f"no kind needs the proof of {name}"


@pytest.mark.parametrize(("check", "name"), PAIRS)
def test_with_all_proofs_in_place_the_same_checks_pass(check, name):
    check(row(check, name))
