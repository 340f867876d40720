import unittest

from quiz import report
from scoring import points, score


class Hidden(unittest.TestCase):
    def test_points(self):
        self.assertEqual([points("a", "a"), points("b", "a"), points(None, "a")], [3, -1, 0])

    def test_score(self):
        self.assertEqual(score(["a", None, "c"], ["a", "b", "d"]), 2)

    def test_nothing_answered(self):
        self.assertEqual(score([None, None], ["a", "b"]), 0)

    def test_report(self):
        self.assertEqual(report("Ann", [None, "c"], ["a", "c"])[0], "Ann: 3 points")


if __name__ == "__main__":
    unittest.main()
