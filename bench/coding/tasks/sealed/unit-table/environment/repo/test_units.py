import unittest

from units import answer, convert


class UnitsTest(unittest.TestCase):
    def test_lengths(self):
        self.assertEqual(answer("3 km", "m"), "3000 m")

    def test_unknown(self):
        with self.assertRaises(ValueError):
            convert(1, "m", "inch")


if __name__ == "__main__":
    unittest.main()
