"""Reads log lines such as "WARNING disk is nearly full"."""

LEVELS = ["debug", "info", "warning", "error"]


def parse_line(line):
    """Level (None if there is none) and text of a line."""
    word, _, rest = line.partition(" ")
    if word.lower() in LEVELS:
        return word.lower(), rest
    return None, line
