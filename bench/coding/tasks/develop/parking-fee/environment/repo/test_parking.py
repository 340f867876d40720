import unittest

from parking import fee


class FeeTest(unittest.TestCase):
    def test_short_stays_are_free(self):
        self.assertEqual(fee(10), 0)

    def test_started_hour_is_charged(self):
        self.assertEqual(fee(61), 500)

    def test_day_maximum(self):
        self.assertEqual(fee(23 * 60), 1800)


if __name__ == "__main__":
    unittest.main()
