import unittest

from bars import chart, counts


class BarsTest(unittest.TestCase):
    def test_counts(self):
        self.assertEqual(counts(["a", "b", "a"]), {"a": 2, "b": 1})

    def test_empty(self):
        self.assertEqual(chart({}), [])


if __name__ == "__main__":
    unittest.main()
