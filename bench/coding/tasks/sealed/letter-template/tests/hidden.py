import unittest

from fill import fill, letters


class Hidden(unittest.TestCase):
    def test_empty_value(self):
        self.assertEqual(fill("Hi {name|you}!", {"name": ""}), "Hi you!")

    def test_value_wins(self):
        self.assertEqual(fill("Hi {name|you}!", {"name": "Bo"}), "Hi Bo!")

    def test_empty_default(self):
        self.assertEqual(fill("Hi{title|} Bo", {}), "Hi Bo")

    def test_missing(self):
        with self.assertRaises(KeyError):
            fill("Hi {name}", {"other": 1})

    def test_zero_is_a_value(self):
        self.assertEqual(fill("{count|no} cats", {"count": 0}), "0 cats")

    def test_letters(self):
        self.assertEqual(letters("{n|x}", [{"n": "a"}, {}]), ["a", "x"])


if __name__ == "__main__":
    unittest.main()
