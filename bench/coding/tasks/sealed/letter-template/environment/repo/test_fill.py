import unittest

from fill import fill, names


class FillTest(unittest.TestCase):
    def test_value(self):
        self.assertEqual(fill("Dear {name},", {"name": "Ann"}), "Dear Ann,")

    def test_default(self):
        self.assertEqual(fill("Dear {name|friend},", {}), "Dear friend,")

    def test_names(self):
        self.assertEqual(names("{a} {b|x} {a}"), ["a", "b"])


if __name__ == "__main__":
    unittest.main()
