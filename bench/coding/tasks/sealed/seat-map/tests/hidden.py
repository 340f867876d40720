import unittest

from seats import parse_seat, row_label, row_number, seat_name


class Hidden(unittest.TestCase):
    def test_one_letter(self):
        self.assertEqual([row_label(n) for n in (1, 2, 26)], ["A", "B", "Z"])

    def test_two_letters(self):
        self.assertEqual([row_label(n) for n in (27, 28, 52, 53, 54)], ["AA", "AB", "AZ", "BA", "BB"])

    def test_round_trip(self):
        for number in range(1, 200):
            self.assertEqual(row_number(row_label(number)), number)

    def test_seats(self):
        self.assertEqual(seat_name(27, 4), "AA4")
        self.assertEqual(parse_seat("BA12"), (53, 12))
        with self.assertRaises(ValueError):
            parse_seat("12B")


if __name__ == "__main__":
    unittest.main()
