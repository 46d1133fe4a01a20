"""The rule that governs shortcuts: what is not proven on the surface at hand is not used."""

from __future__ import annotations

from typing import final

from lossatlas._errors import LossAtlasError, NotApplicableError
from lossatlas.surface.network._data import Batch
from lossatlas.surface.network._reference import Reference
from lossatlas.surface.network._shortcut import Shortcut


def shortcuts() -> tuple[str, ...]:
    """The names of all shortcuts."""
    from lossatlas.surface.network import _cuts, _outputs, _settle, _shortcuts, _twice, chain

    kinds: tuple[type[Shortcut], ...] = (
        _cuts.Cuts,
        _settle.NoGraph,
        _shortcuts.PrivateCopy,
        _shortcuts.Threads,
        _shortcuts.Functional,
        _shortcuts.OnePass,
        _shortcuts.Rows,
        _shortcuts.FoldedNorm,
        _twice.DoubleBackward,
        chain.LayerChain,
        _outputs.LossOfOutputs,
    )
    return tuple(kind.name for kind in kinds)


@final
class Proofs:
    """What was proven on one surface, and what was dropped.

    Args:
        reference: defines what is right.
        small: the batch that proofs are made on.
        allowed: whether shortcuts may be used at all.

    Attributes:
        proven: names of shortcuts in use, with the kinds of query that they answer.
        dropped: a sentence for each that is not, and the remarks of proofs.
    """

    def __init__(self, reference: Reference, small: tuple[Batch, ...], *, allowed: bool = True) -> None:
        self._reference, self._small, self.allowed = reference, small, allowed
        self._held: dict[tuple[str, str], bool] = {}
        self.proven: dict[str, list[str]] = {}
        self.dropped: list[str] = []
        self.examples = 0

    def holds(self, shortcut: Shortcut, query: str) -> bool:
        """Whether a shortcut may answer a kind of query; proven when it is first needed."""
        if not self.allowed:
            return False
        key = (shortcut.name, query)
        if key not in self._held:
            self._held[key] = shortcut.serves(query) and self._prove(shortcut, query)
        return self._held[key]

    def drop(self, name: str, query: str, reason: str) -> None:
        """Use a shortcut no longer, for a reason that showed after its proof."""
        self._held[name, query] = False
        self.dropped.append(f"{name} is not used for {query}: {reason}")
        if query in self.proven.get(name, []):
            self.proven[name].remove(query)
            if not self.proven[name]:
                del self.proven[name]

    def why(self, name: str) -> str:
        """The sentence on a shortcut that was dropped."""
        return next((sentence for sentence in self.dropped if sentence.startswith(name)), f"{name} is not used")

    def _prove(self, shortcut: Shortcut, query: str) -> bool:
        before = self._reference.evaluations
        try:
            reason = shortcut.proves(self._reference, query, self._small)
        except NotApplicableError as error:
            reason = str(error)
        except LossAtlasError as error:
            reason = _short(error.__cause__ or error)
        except Exception as error:  # whatever a user's code, or torch's transforms of it, may raise
            reason = _short(error)
        # The shortcut reads what the reference reads.
        self.examples += 2 * (self._reference.evaluations - before) * sum(batch.size for batch in self._small)
        if reason:
            self.dropped.append(f"{shortcut.name} is not used for {query}: {reason}")
        else:
            if shortcut.remark:
                self.dropped.append(shortcut.remark)
            self.proven.setdefault(shortcut.name, []).append(query)
        return not reason


def _short(error: BaseException) -> str:
    said = " ".join(str(error).split())
    return f"{type(error).__name__}: {said[:157] + '…' if len(said) > 160 else said}".rstrip(".: ")
