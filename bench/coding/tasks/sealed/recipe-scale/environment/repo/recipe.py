"""Recipes with exact amounts."""

from dataclasses import dataclass, field
from fractions import Fraction


@dataclass
class Ingredient:
    name: str
    amount: Fraction
    unit: str = "g"

    def times(self, factor):
        """A new ingredient with so many times the amount."""
        return Ingredient(self.name, self.amount * factor, self.unit)


@dataclass
class Recipe:
    name: str
    ingredients: list = field(default_factory=list)

    def add(self, name, amount, unit="g"):
        self.ingredients.append(Ingredient(name, Fraction(amount), unit))

    def lines(self):
        return [f"{each.amount} {each.unit} {each.name}" for each in self.ingredients]
