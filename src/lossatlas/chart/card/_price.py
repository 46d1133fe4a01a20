"""What a card will cost at most, known beforehand, and which of its lines a budget pays for."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from lossatlas._said import several
from lossatlas.probe import Exchange


@dataclass(frozen=True)
class Price:
    """Queries that something takes at most.

    Attributes:
        values: losses.
        gradients: gradients.
        products: Hessian products.
    """

    values: int = 0
    gradients: int = 0
    products: int = 0

    def __add__(self, other: Price) -> Price:
        return Price(self.values + other.values, self.gradients + other.gradients, self.products + other.products)

    @property
    def cost(self) -> float:
        """All of it in units of one loss."""
        return Exchange().price(self.values, self.gradients, self.products)

    @property
    def words(self) -> str:
        """The queries in words."""
        kinds = (
            (self.products, "Hessian product", "Hessian products"),
            (self.gradients, "gradient", "gradients"),
            (self.values, "loss", "losses"),
        )
        parts = [several(*kind) for kind in kinds if kind[0]]
        return " and ".join([", ".join(parts[:-1]), parts[-1]] if len(parts) > 1 else parts) or "nothing"


@dataclass(frozen=True)
class Quote:
    """The price of a whole card, given when its first lines are known.

    Attributes:
        price: at most.
        examples: behind one loss.
        seconds: at the rate of the first queries; an extrapolation, not a promise.
    """

    price: Price
    examples: int
    seconds: float

    @property
    def sentence(self) -> str:
        """The forecast in words."""
        examples = f" over {self.examples:,} examples" if self.examples else ""
        return (
            f"forecast of the card: at most {self.price.words}, worth {self.price.cost:,.0f} losses{examples}, about "
            f"{self.seconds:.2g} s"
        )

    def record(self) -> dict[str, Any]:
        """Plain JSON values."""
        said = {"examples": self.examples, "seconds": self.seconds, "sentence": self.sentence}
        return {**vars(self.price), "cost": self.price.cost, **said}
