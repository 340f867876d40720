import unittest

from timetable import Timetable, minutes

STOP = Timetable(["07:05", "06:30", "22:15"])


class Hidden(unittest.TestCase):
    def test_first_of_next_day(self):
        self.assertEqual(STOP.next_bus(minutes("22:16")), minutes("06:30"))

    def test_wait_over_midnight(self):
        self.assertEqual(STOP.wait(minutes("23:59")), 391)
        self.assertEqual(STOP.wait(minutes("22:16")), 494)

    def test_bus_at_this_minute(self):
        self.assertEqual(STOP.wait(minutes("22:15")), 0)

    def test_usual(self):
        self.assertEqual(STOP.next_bus(0), 390)
        self.assertEqual(STOP.wait(minutes("06:40")), 25)


if __name__ == "__main__":
    unittest.main()
