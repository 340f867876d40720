import unittest

from quiz import report
from scoring import points, score


class Hidden(unittest.TestCase):
    def test_points(self):
        self.assertEqual([points("a", "a"), points("b", "a"), points(None, "a")], [3, -1, 0])

    def test_score(self):
        self.assertEqual(score(["a", None, "c"], ["a", "b", "d"]), 2)

    def test_never_negative(self):
        self.assertEqual(score(["x", "y"], ["a", "b"]), 0)
        self.assertEqual(score(["x", "y", "c"], ["a", "b", "c"]), 1)

    def test_report(self):
        self.assertEqual(
            report("Ann", ["a", None, "c"], ["a", "b", "d"]),
            ["Ann: 2 points", "1. ok", "2. -", "3. no"],
        )


if __name__ == "__main__":
    unittest.main()
