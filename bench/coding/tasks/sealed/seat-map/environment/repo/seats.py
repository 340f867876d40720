"""Names of seats in a hall, such as C12: row 3, seat 12."""

import re

LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
SEAT = re.compile(r"([A-Z]+)(\d+)")


def row_label(number):
    """The letters of a row; rows are numbered from 1."""
    return chr(ord("A") + number - 1)


def row_number(label):
    """The number of a row by its letters."""
    return LETTERS.index(label) + 1


def seat_name(row, seat):
    return f"{row_label(row)}{seat}"


def parse_seat(name):
    """Row and seat of a name."""
    match = SEAT.fullmatch(name)
    if match is None:
        raise ValueError(f"no seat: {name}")
    return row_number(match[1]), int(match[2])
