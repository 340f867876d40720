"""Reads the lines of a bank statement."""

from dataclasses import dataclass


@dataclass
class Booking:
    text: str
    cents: int


def parse_amount(text):
    """Cents of an amount such as 12,50."""
    whole, _, part = text.partition(",")
    euros = int(whole.split(".")[0])
    cents = int(part.lstrip("0").ljust(2, "0")) if part else 0
    return euros * 100 + cents


def parse_line(line):
    """A booking from `text;amount`."""
    text, amount = line.rsplit(";", 1)
    return Booking(text.strip(), parse_amount(amount.strip()))


def balances(start, lines):
    """The balance in cents after each line."""
    found = []
    for line in lines:
        start += parse_line(line).cents
        found.append(start)
    return found
