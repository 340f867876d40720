import unittest

from sensors import moving_mean


class Hidden(unittest.TestCase):
    def test_only_gaps(self):
        self.assertEqual(moving_mean([None, None], 2), [None, None])

    def test_gap_first(self):
        self.assertEqual(moving_mean([None, 4, 6], 2), [None, 4, 5])

    def test_gap_longer_than_window(self):
        self.assertEqual(moving_mean([3, None, None, None, 5], 2), [3, 3, None, None, 5])

    def test_zero_is_a_reading(self):
        self.assertEqual(moving_mean([0, None, 2], 3), [0, 0, 1])

    def test_empty(self):
        self.assertEqual(moving_mean([], 3), [])


if __name__ == "__main__":
    unittest.main()
