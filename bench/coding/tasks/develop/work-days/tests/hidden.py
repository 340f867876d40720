import unittest

from calendar_days import parse_day, work_days


def count(first, last, *holidays):
    return work_days(parse_day(first), parse_day(last), [parse_day(day) for day in holidays])


class Hidden(unittest.TestCase):
    def test_one_week(self):
        self.assertEqual(count("2025-03-03", "2025-03-07"), 5)
        self.assertEqual(count("2025-03-03", "2025-03-09"), 5)

    def test_one_day(self):
        self.assertEqual(count("2025-03-04", "2025-03-04"), 1)
        self.assertEqual(count("2025-03-08", "2025-03-08"), 0)

    def test_holiday_in_the_week(self):
        self.assertEqual(count("2025-03-03", "2025-03-07", "2025-03-05"), 4)
        self.assertEqual(count("2025-03-03", "2025-03-07", "2025-03-07"), 4)

    def test_holiday_on_a_weekend(self):
        self.assertEqual(count("2025-03-03", "2025-03-16", "2025-03-08"), 10)

    def test_holiday_outside(self):
        self.assertEqual(count("2025-03-03", "2025-03-07", "2025-03-10"), 5)


if __name__ == "__main__":
    unittest.main()
