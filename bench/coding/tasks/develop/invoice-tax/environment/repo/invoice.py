"""Invoices with lines of different tax rates."""

from dataclasses import dataclass, field
from decimal import Decimal

from money import amount, round_cents


@dataclass
class Line:
    text: str
    net: Decimal
    rate: int


@dataclass
class Invoice:
    lines: list = field(default_factory=list)

    def add(self, text, net, rate=19):
        self.lines.append(Line(text, amount(net), rate))

    def net(self):
        return sum((line.net for line in self.lines), Decimal(0))

    def taxes(self):
        """The tax of each rate."""
        found = {}
        for line in self.lines:
            tax = round_cents(line.net * line.rate / 100)
            found[line.rate] = found.get(line.rate, Decimal(0)) + tax
        return found

    def total(self):
        return self.net() + sum(self.taxes().values(), Decimal(0))
