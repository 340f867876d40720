import unittest

from jobs import Jobs


class JobsTest(unittest.TestCase):
    def test_priority(self):
        jobs = Jobs()
        jobs.put("low")
        jobs.put("high", 5)
        self.assertEqual(jobs.take(), "high")

    def test_order(self):
        jobs = Jobs()
        jobs.put("zip")
        jobs.put("copy")
        self.assertEqual(jobs.take(), "zip")


if __name__ == "__main__":
    unittest.main()
