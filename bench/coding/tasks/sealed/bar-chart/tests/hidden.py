import unittest

from bars import chart, counts


class Hidden(unittest.TestCase):
    def test_empty(self):
        self.assertEqual(chart(counts([])), [])

    def test_one_zero(self):
        self.assertEqual(chart({"x": 2, "y": 0}), ["x |" + "#" * 20 + " 2", "y | 0"])

    def test_proportion(self):
        self.assertEqual(chart({"x": 4, "y": 1})[1], "y |##### 1")


if __name__ == "__main__":
    unittest.main()
