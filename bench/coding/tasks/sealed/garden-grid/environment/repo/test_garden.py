import unittest

from garden import Garden

GARDEN = Garden(["R..", "..R"])


class GardenTest(unittest.TestCase):
    def test_inner(self):
        self.assertEqual(sorted(GARDEN.neighbours(1, 0)), [(0, 0), (1, 1), (2, 0)])

    def test_ripe(self):
        self.assertEqual(GARDEN.ripe_around(1, 0), 1)


if __name__ == "__main__":
    unittest.main()
