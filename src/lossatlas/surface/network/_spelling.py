"""Other spellings of a model's names: prefixes, wrappers inside, adapters, and weight and spectral norm old and new."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import final

# Segments that wrappers put between the names of the modules they wrap.
_WRAPPERS = {
    "_orig_mod": "torch.compile",
    "module": "a parallel or averaging wrapper",
    "_fsdp_wrapped_module": "FSDP",
    "_checkpoint_wrapped_module": "checkpointing",
    "_forward_module": "Lightning Fabric",
}
_ADAPTER = re.compile(
    r"\.(lora_[AB]|lora_embedding_[AB]|lora_magnitude_vector|vera_lambda_[bd]|ia3_l|hada_w\d_[abt]|lokr_\w+|modules_to_save)"
    r"\.(?!weight$|bias$)[^.]+(?=\.|$)"
)
_ADAPTED = re.compile(
    r"(^|\.)(lora_\w+|vera_lambda_\w+|ia3_l|hada_w\w+|lokr_\w+|modules_to_save|prompt_encoder|prompt_embeddings|adapters?)(\.|$)"
)

Names = Iterable[str]
Spelling = Callable[[Names], dict[str, str]]


@final
@dataclass(frozen=True)
class Prefix:
    """Names that begin with one prefix begin with another one in the model.

    Attributes:
        theirs: what the given names begin with; empty for all of them.
        ours: what stands there in the model.
    """

    theirs: str = ""
    ours: str = ""

    def __call__(self, name: str) -> str | None:
        """The model's name; None for a name without the prefix."""
        return self.ours + name[len(self.theirs) :] if name.startswith(self.theirs) else None

    @property
    def sentence(self) -> str:
        """What was done, in words; empty for nothing."""
        if not self.theirs and not self.ours:
            return ""
        if not self.ours:
            return f"its names carry the prefix {self.theirs!r}, which was left out"
        if not self.theirs:
            return f"the model's names carry the prefix {self.ours!r}, which was added to its names"
        return f"its names begin with {self.theirs!r} where the model's begin with {self.ours!r}, which was exchanged"


def as_it_is(names: Names) -> dict[str, str]:
    """Each name as it is."""
    return {name: name for name in names}


def unwrapped(names: Names) -> dict[str, str]:
    """Names without the segments of wrappers, with the names they stand for."""
    return _each(names, lambda name: ".".join(part for part in name.split(".") if part not in _WRAPPERS))


def renormalized(names: Names) -> dict[str, str]:
    """Weight norm and spectral norm of the old kind as parametrizations write them."""
    known = set(names)

    def new(name: str) -> str:
        head, dot, tail = name.rpartition(".")
        what, _, part = tail.rpartition("_")
        path = f"{head}{dot}parametrizations.{what}"
        spectral = f"{head}{dot}{what}_orig" in known
        old = {"g": "original0", "v": "original1"} if not spectral else {"orig": "original", "u": "0._u", "v": "0._v"}
        if part not in old or not what or (not spectral and f"{head}{dot}{what}_g" not in known):
            return name
        return f"{path}.{old[part]}"

    return _each(known, new)


def unadapted(names: Names) -> dict[str, str]:
    """Names of adapters without the adapter's own name, as PEFT writes them into files."""
    return _each(names, lambda n: _ADAPTER.sub(lambda m: "" if m[1] == "modules_to_save" else f".{m[1]}", n))


def every(names: Names) -> dict[str, str]:
    """All of these at once."""
    found = as_it_is(names)
    for spell in (unwrapped, renormalized, unadapted):
        found = {new: found[old] for new, old in spell(list(found)).items()}
    return found


SPELLINGS: tuple[tuple[Spelling, str], ...] = (
    (as_it_is, ""),
    (unwrapped, "names of wrappers inside its names were left out"),
    (renormalized, "weight norm or spectral norm of another version was renamed"),
    (unadapted, "the name of the adapter was left out"),
    (every, "wrappers, norms or adapters in its names were renamed"),
)


def prefixes(
    theirs: Mapping[str, tuple[int, ...] | None],
    required: Mapping[str, tuple[int, ...]],
    aliases: Mapping[str, list[str]],
) -> list[Prefix]:
    """Every exchange of prefixes that gives one of the model's parameters a tensor of its shape.

    The parameter with the fewest candidates is looked at: a fit needs all of them.
    """
    count = Counter((_last(name), shape) for name, shape in theirs.items())
    anchor = min(
        required,
        key=lambda name: (
            sum(count[_last(own), required[name]] for own in [name, *aliases.get(name, [])]) or len(count) + 1
        ),
    )
    found: dict[Prefix, None] = {}
    for own in [anchor, *aliases.get(anchor, [])]:
        for name, shape in theirs.items():
            if shape == required[anchor] and _last(name) == _last(own):
                found[_between(name, own)] = None
    return list(found)


def adapted(names: Names) -> bool:
    """Whether all names are those of adapters."""
    listed = list(names)
    return bool(listed) and all(_ADAPTED.search(name) for name in listed)


def is_adapted(name: str) -> bool:
    """Whether a name is an adapter's."""
    return _ADAPTED.search(name) is not None


def _between(theirs: str, ours: str) -> Prefix:
    """What differs in front of the longest common end of two names."""
    a, b = theirs.split("."), ours.split(".")
    while a and b and a[-1] == b[-1]:
        a.pop()
        b.pop()
    return Prefix("".join(f"{part}." for part in a), "".join(f"{part}." for part in b))


def _each(names: Names, new: Callable[[str], str]) -> dict[str, str]:
    """New name to old; names that would meet stay as they are."""
    pairs = [(new(name), name) for name in names]
    count = Counter(fresh for fresh, _ in pairs)
    return {(fresh if count[fresh] == 1 else old): old for fresh, old in pairs}


def _last(name: str) -> str:
    return name.rpartition(".")[2]
