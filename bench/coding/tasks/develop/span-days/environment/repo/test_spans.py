import unittest

from spans import format_span, parse_span


class SpanTest(unittest.TestCase):
    def test_hours_and_minutes(self):
        self.assertEqual(parse_span("1h30m"), 5400)
        self.assertEqual(format_span(5400), "1h30m")

    def test_nonsense(self):
        with self.assertRaises(ValueError):
            parse_span("soon")


if __name__ == "__main__":
    unittest.main()
