"""The decision tree: questions that facts answer, or cannot, and leaves that name what to race."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeAlias

from lossatlas import archive
from lossatlas.advise import _thresholds as at
from lossatlas.advise._fact import Fact, shown


@dataclass(frozen=True)
class Leaf:
    """Where the tree ends.

    Attributes:
        name: short.
        says: what to do there, in words.
        races: labels of `portfolio`, the first is advised.
    """

    name: str
    says: str
    races: tuple[str, ...]


@dataclass(frozen=True)
class Question:
    """A fact held against a threshold.

    Attributes:
        name: the question, as the picture has it.
        fact: by which it is answered.
        threshold: yes above it.
        yes: what follows.
        no: what follows.
        below: whether it is yes below the threshold instead.
    """

    name: str
    fact: str
    threshold: float
    yes: Node
    no: Node
    below: bool = False


Node: TypeAlias = Question | Leaf

SURROGATE = Leaf("surrogate", "model the surface, and evaluate where the model expects most", ("bayes", "nelder-mead"))
DESCENT = Leaf("descent", "follow the gradient down the valley", ("lbfgs", "gd"))
STARTS = Leaf("starts", "follow the gradient from many starts, or with momentum", ("lbfgs", "momentum", "cma"))
RANKS = Leaf("ranks", "rank many values, since no single one can be trusted", ("cma", "nelder-mead"))
RUGGED = Leaf("population", "move a population, which sees over the bumps", ("de", "cma"))
SMOOTH = Leaf("differences", "follow differences of values down the valley", ("lbfgs-differences", "nelder-mead"))
VALLEYS = Leaf("valleys", "descend from several starts, then move a population", ("nelder-mead", "de"))

# Each question with what follows yes, then no.
RIPPLES = Question("Does it ripple?", "ripples", at.RIPPLES, RUGGED, VALLEYS)
VALLEY = Question("Is there one large valley?", "valley", at.VALLEY, SMOOTH, RIPPLES)
ROUGH = Question("Is it rough at small steps?", "rough", at.ROUGH, RUGGED, VALLEY)
NOISY = Question("Are values noisy?", "noise", at.NOISE, RANKS, ROUGH)
CONVEX = Question("Is there one large valley?", "valley", at.VALLEY, DESCENT, STARTS)
GRADIENT = Question("Is there an honest gradient?", "honest", 0.5, CONVEX, NOISY)
DEAR = Question("Does one evaluation take long?", "price", at.DEAR, SURROGATE, GRADIENT)
TREE = Question("Are there few evaluations?", "budget", at.FEW, SURROGATE, DEAR, below=True)

ADAPTIVE = Leaf("adaptive", "scale each coordinate by its own gradients", ("adam", "momentum", "gd"))
EVEN = Leaf("even", "one rate for all coordinates, with momentum", ("momentum", "gd", "adam"))
ILL = Question("Is it ill-conditioned?", "condition", at.ILL, ADAPTIVE, EVEN)
NETWORK = Question("Is the mini-batch mostly noise?", "noise", at.NOISY_BATCH, ADAPTIVE, ILL)


@dataclass(frozen=True)
class Step(archive.Result):
    """One question of the tree as it was answered.

    Attributes:
        question: in words.
        fact: what it was answered by.
        threshold: that it was held against.
        verdict: ``yes``, ``no`` or ``cannot tell``.
    """

    question: str
    fact: Fact
    threshold: float
    verdict: str

    def __post_init__(self) -> None:
        object.__setattr__(self, "threshold", float(self.threshold))

    @property
    def decides(self) -> bool:
        """Whether the interval lies on one side of the threshold."""
        return self.verdict != "cannot tell"

    @property
    def sentence(self) -> str:
        """Fact, interval, threshold, verdict."""
        held = f"{self.verdict}" if self.decides else "cannot tell, so both branches are raced"
        return f"{self.question} {self.fact.sentence}; threshold {shown(self.threshold)}: {held}"


def answered(question: Question, fact: Fact | None) -> Step:
    """A question held against a fact."""
    fact = fact or Fact(question.fact, question.fact, float("nan"))
    above, below = fact.low > question.threshold, fact.high <= question.threshold
    yes, no = (below, above) if question.below else (above, below)
    return Step(question.name, fact, question.threshold, "yes" if yes else "no" if no else "cannot tell")


def walk(facts: Mapping[str, Fact], node: Node = TREE) -> tuple[list[Step], list[Leaf]]:
    """The questions that were met, and the leaves that were reached, the likelier first."""
    if isinstance(node, Leaf):
        return [], [node]
    step = answered(node, facts.get(node.fact))
    if step.decides:
        steps, leaves = walk(facts, node.yes if step.verdict == "yes" else node.no)
        return [step, *steps], leaves
    above = step.fact.value > node.threshold
    likely, other = (node.yes, node.no) if above != node.below and step.fact.known else (node.no, node.yes)
    steps, leaves = walk(facts, likely)
    more, others = walk(facts, other)
    known = {one.question for one in (step, *steps)}
    return [step, *steps, *(one for one in more if one.question not in known)], [
        *leaves,
        *(o for o in others if o not in leaves),
    ]
