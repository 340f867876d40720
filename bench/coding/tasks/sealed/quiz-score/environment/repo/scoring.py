"""Points for the answers of a quiz."""

RIGHT, WRONG = 3, -1


def points(answer, solution):
    """The points for one answer; None is no answer."""
    if answer == solution:
        return RIGHT
    return WRONG


def score(answers, solutions):
    """The points for all answers."""
    return sum(points(a, s) for a, s in zip(answers, solutions))
