import unittest

from phonebook import PhoneBook


class Hidden(unittest.TestCase):
    def setUp(self):
        self.book = PhoneBook()
        self.book.add("Zoe", "030 / 123-45")
        self.book.add("Abe", "+49 30 999")
        self.book.add("Kim", "03077")

    def test_start(self):
        self.assertEqual(self.book.by_number("030"), ["Kim", "Zoe"])
        self.assertEqual(self.book.by_number("+49"), ["Abe"])

    def test_only_the_start(self):
        self.assertEqual(self.book.by_number("999"), [])

    def test_names_as_before(self):
        self.assertEqual(self.book.by_name("z"), ["Zoe"])


if __name__ == "__main__":
    unittest.main()
