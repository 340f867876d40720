import unittest

from quiz import report


class QuizTest(unittest.TestCase):
    def test_right_and_wrong(self):
        self.assertEqual(report("Bo", ["a", "b"], ["a", "c"])[0], "Bo: 2 points")

    def test_left_out(self):
        self.assertEqual(report("Bo", ["a", None], ["a", "c"])[0], "Bo: 3 points")


if __name__ == "__main__":
    unittest.main()
