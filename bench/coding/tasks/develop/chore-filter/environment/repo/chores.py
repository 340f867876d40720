"""A tiny chore list; commands come as a list of words."""

import argparse

from store import Chores


def parser():
    top = argparse.ArgumentParser(prog="chores")
    commands = top.add_subparsers(dest="command", required=True)
    add = commands.add_parser("add")
    add.add_argument("text")
    done = commands.add_parser("done")
    done.add_argument("number", type=int)
    commands.add_parser("list")
    return top


def run(chores, words):
    """Run one command on the chores; returns the lines to print."""
    options = parser().parse_args(words)
    if options.command == "add":
        return [f"added {chores.add(options.text)}"]
    if options.command == "done":
        chores.finish(options.number)
        return [f"done {options.number}"]
    lines = []
    for number, item in chores.numbered():
        mark = "x" if item["done"] else " "
        lines.append(f"{number}. [{mark}] {item['text']}")
    return lines


if __name__ == "__main__":
    import sys

    print("\n".join(run(Chores(), sys.argv[1:])))
