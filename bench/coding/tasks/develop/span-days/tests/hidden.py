import unittest

from spans import format_span, parse_span


class Hidden(unittest.TestCase):
    def test_days_are_read(self):
        self.assertEqual(parse_span("2d3h"), 183600)
        self.assertEqual(parse_span(" 1D "), 86400)

    def test_days_are_written(self):
        self.assertEqual(format_span(183600), "2d3h")
        self.assertEqual(format_span(90061), "1d1h1m1s")

    def test_round_trip(self):
        for seconds in (1, 60, 3599, 86399, 86400, 1000000):
            self.assertEqual(parse_span(format_span(seconds)), seconds)

    def test_still_refuses(self):
        for text in ("", "d", "5", "3x", "1h 3m"):
            with self.assertRaises(ValueError):
                parse_span(text)
        self.assertEqual(format_span(0), "0s")


if __name__ == "__main__":
    unittest.main()
