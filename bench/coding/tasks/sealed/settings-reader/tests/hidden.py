import unittest

from reader import read


class Hidden(unittest.TestCase):
    def test_comments(self):
        self.assertEqual(read("# head\na = 1\n#b = 2\nc = x"), {"a": 1, "c": "x"})

    def test_only_a_comment(self):
        self.assertEqual(read("# nothing"), {})

    def test_line_numbers_count_all_lines(self):
        with self.assertRaisesRegex(ValueError, "line 3"):
            read("# one\n# two\nthree")

    def test_hash_in_a_value_stays(self):
        self.assertEqual(read("colour = #fff"), {"colour": "#fff"})


if __name__ == "__main__":
    unittest.main()
