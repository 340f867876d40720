import unittest

from parking import fee, started_hours


class Hidden(unittest.TestCase):
    def test_whole_hours_are_not_rounded_up(self):
        self.assertEqual([started_hours(m) for m in (60, 120, 180)], [1, 2, 3])

    def test_part_of_an_hour(self):
        self.assertEqual([fee(m) for m in (16, 59, 121, 300)], [250, 250, 750, 1250])

    def test_still_free_and_capped(self):
        self.assertEqual([fee(0), fee(15), fee(500)], [0, 0, 1800])

    def test_more_than_a_day(self):
        self.assertEqual(fee(24 * 60), 1800)
        self.assertEqual(fee(24 * 60 + 30), 2050)


if __name__ == "__main__":
    unittest.main()
