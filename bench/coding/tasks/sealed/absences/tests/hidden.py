import unittest
from datetime import date

from absences import Absence, clashes


def away(person, first, last):
    return Absence(person, date(2025, 5, first), date(2025, 5, last))


class Hidden(unittest.TestCase):
    def test_one_shared_day(self):
        self.assertTrue(away("a", 1, 5).overlaps(away("b", 5, 9)))
        self.assertTrue(away("a", 5, 9).overlaps(away("b", 1, 5)))

    def test_single_days(self):
        self.assertTrue(away("a", 3, 3).overlaps(away("b", 3, 3)))
        self.assertFalse(away("a", 3, 3).overlaps(away("b", 4, 4)))

    def test_days(self):
        self.assertEqual([away("a", 3, 3).days(), away("a", 3, 7).days()], [1, 5])

    def test_clashes(self):
        old = [away("ann", 1, 5), away("bob", 6, 9), away("cy", 10, 12)]
        self.assertEqual(clashes(old, away("dan", 5, 6)), ["ann", "bob"])


if __name__ == "__main__":
    unittest.main()
