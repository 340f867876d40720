import unittest

from sensors import moving_mean, peaks


class SensorsTest(unittest.TestCase):
    def test_mean(self):
        self.assertEqual(moving_mean([1, 2, 3, 4], 2), [1, 1.5, 2.5, 3.5])

    def test_gap(self):
        self.assertEqual(moving_mean([1, None, 3], 3), [1, 1, 2])

    def test_peaks(self):
        self.assertEqual(peaks([1, None, 9], 5), [2])


if __name__ == "__main__":
    unittest.main()
