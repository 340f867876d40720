import unittest

from timetable import Timetable, minutes

STOP = Timetable(["05:10", "12:00", "23:40"])


class TimetableTest(unittest.TestCase):
    def test_same_day(self):
        self.assertEqual(STOP.wait(minutes("11:45")), 15)

    def test_over_midnight(self):
        self.assertEqual(STOP.wait(minutes("23:50")), 320)


if __name__ == "__main__":
    unittest.main()
