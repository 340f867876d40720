import unittest

from lookup import column, lookup

DATA = {"people": [{"name": "Ann", "age": 0}, {"name": "Bo"}], "size": 3}


class Hidden(unittest.TestCase):
    def test_list_of_dictionaries(self):
        self.assertEqual(lookup(DATA, "people.0.name"), "Ann")
        self.assertEqual(lookup(DATA, "people.1.name"), "Bo")

    def test_too_large(self):
        self.assertIsNone(lookup(DATA, "people.2.name"))

    def test_not_a_number(self):
        self.assertEqual(lookup(DATA, "people.first", "none"), "none")

    def test_plain_value_in_the_middle(self):
        self.assertEqual(lookup(DATA, "size.x", "none"), "none")
        self.assertEqual(lookup(DATA, "people.0.name.first", "none"), "none")

    def test_zero_is_found(self):
        self.assertEqual(lookup(DATA, "people.0.age", 9), 0)

    def test_column(self):
        self.assertEqual(column([{"a": [1]}, {"a": []}], "a.0", "-"), [1, "-"])


if __name__ == "__main__":
    unittest.main()
