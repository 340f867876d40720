"""Shows how somebody did in a quiz."""

from scoring import score


def mark(answer, solution):
    """How one answer is shown."""
    return "ok" if answer == solution else "no"


def report(name, answers, solutions):
    """The lines of a report."""
    lines = [f"{name}: {score(answers, solutions)} points"]
    for number, (answer, solution) in enumerate(zip(answers, solutions), start=1):
        lines.append(f"{number}. {mark(answer, solution)}")
    return lines
