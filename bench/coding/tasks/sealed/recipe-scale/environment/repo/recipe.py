"""Recipes with exact amounts."""

from dataclasses import dataclass, field
from fractions import Fraction


@dataclass
class Ingredient:
    name: str
    amount: Fraction
    unit: str = "g"

    def __str__(self):
        return f"{self.amount} {self.unit} {self.name}"


@dataclass
class Recipe:
    name: str
    servings: int
    ingredients: list = field(default_factory=list)

    def add(self, name, amount, unit="g"):
        self.ingredients.append(Ingredient(name, Fraction(amount), unit))

    def lines(self):
        return [str(ingredient) for ingredient in self.ingredients]
