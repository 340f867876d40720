import unittest

from jobs import Jobs


class Hidden(unittest.TestCase):
    def setUp(self):
        self.jobs = Jobs()
        for name, priority in (("z", 1), ("b", 0), ("a", 1), ("y", 2), ("a2", 0), ("m", 1)):
            self.jobs.put(name, priority)

    def test_take(self):
        self.assertEqual([self.jobs.take() for _ in range(6)], ["y", "z", "a", "m", "b", "a2"])

    def test_names(self):
        self.assertEqual(self.jobs.names(), ["y", "z", "a", "m", "b", "a2"])
        self.assertEqual(len(self.jobs), 6)

    def test_later_ones(self):
        for _ in range(3):
            self.jobs.take()
        self.jobs.put("aa", 1)
        self.assertEqual(self.jobs.names(), ["m", "aa", "b", "a2"])

    def test_same_name_twice(self):
        jobs = Jobs()
        jobs.put("x")
        jobs.put("x")
        self.assertEqual(jobs.names(), ["x", "x"])

    def test_empty(self):
        with self.assertRaises(IndexError):
            Jobs().take()


if __name__ == "__main__":
    unittest.main()
