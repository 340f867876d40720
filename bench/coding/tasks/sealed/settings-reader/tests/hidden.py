import unittest

from reader import read


class Hidden(unittest.TestCase):
    def test_comments(self):
        self.assertEqual(read("# head\na = 1\n   # b = 2\n"), {"a": 1})

    def test_empty_lines(self):
        self.assertEqual(read("\na = 1\n   \nb = x\n"), {"a": 1, "b": "x"})

    def test_truth(self):
        found = read("loud = yes\nsafe = no\nname = nobody")
        self.assertIs(found["loud"], True)
        self.assertIs(found["safe"], False)
        self.assertEqual(found["name"], "nobody")

    def test_line_numbers_count_all_lines(self):
        with self.assertRaisesRegex(ValueError, "line 3"):
            read("# one\n\nthree")

    def test_hash_in_a_value_stays(self):
        self.assertEqual(read("colour = #fff"), {"colour": "#fff"})


if __name__ == "__main__":
    unittest.main()
