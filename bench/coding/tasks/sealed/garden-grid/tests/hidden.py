import unittest

from garden import Garden


class Hidden(unittest.TestCase):
    def setUp(self):
        self.garden = Garden(["R.R.", "....", "R..R"])

    def test_corners(self):
        self.assertEqual(sorted(self.garden.neighbours(0, 0)), [(0, 1), (1, 0)])
        self.assertEqual(sorted(self.garden.neighbours(3, 2)), [(2, 2), (3, 1)])

    def test_edge_and_inside(self):
        self.assertEqual(len(self.garden.neighbours(2, 0)), 3)
        self.assertEqual(len(self.garden.neighbours(1, 1)), 4)

    def test_ripe_does_not_look_at_the_other_side(self):
        self.assertEqual(self.garden.ripe_around(0, 0), 0)
        self.assertEqual(self.garden.ripe_around(3, 0), 1)
        self.assertEqual(self.garden.ripe_around(0, 1), 2)

    def test_one_bed(self):
        self.assertEqual(Garden(["R"]).neighbours(0, 0), [])


if __name__ == "__main__":
    unittest.main()
