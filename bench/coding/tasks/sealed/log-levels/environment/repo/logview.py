"""Shows the lines of a log that hold a word."""

import argparse
import sys

from lines import LEVELS, parse_line


def parser():
    options = argparse.ArgumentParser(prog="logview")
    options.add_argument("--word", default="")
    return options


def view(arguments, lines):
    """The lines to show."""
    options = parser().parse_args(arguments)
    shown = []
    for line in lines:
        level, text = parse_line(line)
        if options.word not in text:
            continue
        shown.append(line)
    return shown


if __name__ == "__main__":
    print("\n".join(view(sys.argv[1:], sys.stdin.read().splitlines())))
