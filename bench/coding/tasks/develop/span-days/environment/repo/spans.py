"""Spans of time written as text, such as 1h30m."""

import re

SECONDS = {"h": 3600, "m": 60, "s": 1}
PART = re.compile(r"(\d+)([hms])")


def parse_span(text):
    """Seconds of a text such as "1h30m"; ValueError if it is none."""
    text = text.strip().lower()
    total, position = 0, 0
    for match in PART.finditer(text):
        if match.start() != position:
            break
        total += int(match[1]) * SECONDS[match[2]]
        position = match.end()
    if not text or position != len(text):
        raise ValueError(f"not a span: {text!r}")
    return total


def format_span(seconds):
    """The shortest text of a span; zero is "0s"."""
    parts = []
    for unit, size in SECONDS.items():
        count, seconds = divmod(seconds, size)
        if count:
            parts.append(f"{count}{unit}")
    return "".join(parts) or "0s"
