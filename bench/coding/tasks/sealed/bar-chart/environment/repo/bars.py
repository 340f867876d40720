"""Bar charts for the terminal."""

import sys

WIDTH = 20


def bar(value, highest, width=WIDTH):
    """A bar whose length is in proportion to the highest value."""
    return "#" * round(width * value / highest)


def chart(values):
    """Lines with name, bar and value; the highest value fills the width."""
    longest = max(len(name) for name in values)
    highest = max(values.values())
    lines = []
    for name, value in values.items():
        lines.append(f"{name.ljust(longest)} |{bar(value, highest)} {value}")
    return lines


def counts(words):
    """How often each word stands in a list."""
    found = {}
    for word in words:
        found[word] = found.get(word, 0) + 1
    return found


if __name__ == "__main__":
    print("\n".join(chart(counts(sys.argv[1:]))))
