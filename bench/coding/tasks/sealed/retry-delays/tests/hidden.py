import unittest

from backoff import call, delays


class Hidden(unittest.TestCase):
    def test_longest(self):
        self.assertEqual(delays(6, first=10), [10, 20, 30, 30, 30])
        self.assertEqual(delays(4, first=3, longest=4), [3, 4, 4])

    def test_shorter_ones(self):
        self.assertEqual(delays(4), [0.5, 1, 2])
        self.assertEqual(delays(4, first=1, factor=3), [1, 3, 9])
        self.assertEqual(delays(1), [])

    def test_call(self):
        waits = []

        def fail():
            raise OSError

        with self.assertRaises(OSError):
            call(fail, tries=4, sleep=waits.append, first=5, longest=8)
        self.assertEqual(waits, [5, 8, 8])


if __name__ == "__main__":
    unittest.main()
