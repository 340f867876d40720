import unittest

from recipe import Recipe


class Hidden(unittest.TestCase):
    def setUp(self):
        self.soup = Recipe("soup", 4)
        self.soup.add("peas", 300)
        self.soup.add("water", "3/2", "l")

    def test_double(self):
        self.assertEqual(self.soup.scaled(8).lines(), ["600 g peas", "3 l water"])

    def test_exact(self):
        self.assertEqual(self.soup.scaled(1).lines(), ["75 g peas", "3/8 l water"])

    def test_head(self):
        other = self.soup.scaled(2)
        self.assertEqual((other.name, other.servings), ("soup", 2))
        self.assertIsInstance(other, Recipe)

    def test_old_one_stays(self):
        self.soup.scaled(40)
        self.assertEqual(self.soup.lines(), ["300 g peas", "3/2 l water"])
        self.assertEqual(self.soup.servings, 4)

    def test_refuses(self):
        with self.assertRaises(ValueError):
            self.soup.scaled(0)


if __name__ == "__main__":
    unittest.main()
