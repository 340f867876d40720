import unittest

from fill import fill


class Hidden(unittest.TestCase):
    def test_default(self):
        self.assertEqual(fill("Hi {name|you} and {other|all}!", {"other": "Al"}), "Hi you and Al!")

    def test_value_wins(self):
        self.assertEqual(fill("Hi {name|you}!", {"name": "Bo"}), "Hi Bo!")

    def test_missing(self):
        with self.assertRaises(KeyError):
            fill("Hi {name}", {"other": 1})

    def test_number(self):
        self.assertEqual(fill("{count|no} cats", {"count": 3}), "3 cats")


if __name__ == "__main__":
    unittest.main()
