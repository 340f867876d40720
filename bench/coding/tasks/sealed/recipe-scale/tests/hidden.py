import unittest
from fractions import Fraction

from recipe import Recipe


class Hidden(unittest.TestCase):
    def setUp(self):
        self.soup = Recipe("soup")
        self.soup.add("peas", 300)
        self.soup.add("water", "3/2", "l")

    def test_double(self):
        self.assertEqual(self.soup.scaled(2).lines(), ["600 g peas", "3 l water"])

    def test_quarter(self):
        self.assertEqual(self.soup.scaled(Fraction(1, 4)).lines(), ["75 g peas", "3/8 l water"])

    def test_name(self):
        other = self.soup.scaled(3)
        self.assertEqual(other.name, "soup")
        self.assertIsInstance(other, Recipe)

    def test_old_one_stays(self):
        self.soup.scaled(10)
        self.assertEqual(self.soup.lines(), ["300 g peas", "3/2 l water"])


if __name__ == "__main__":
    unittest.main()
