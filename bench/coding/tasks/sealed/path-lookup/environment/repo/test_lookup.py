import unittest

from lookup import column, lookup


class LookupTest(unittest.TestCase):
    def test_keys(self):
        self.assertEqual(lookup({"a": {"b": 1}}, "a.b"), 1)

    def test_list(self):
        self.assertEqual(lookup({"a": [5, 6]}, "a.1"), 6)

    def test_column(self):
        self.assertEqual(column([{"x": 1}, {}], "x"), [1, ""])


if __name__ == "__main__":
    unittest.main()
