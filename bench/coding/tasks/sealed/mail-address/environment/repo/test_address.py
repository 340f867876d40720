import unittest

from address import Address, parse_address


class AddressTest(unittest.TestCase):
    def test_plain(self):
        self.assertEqual(parse_address("bo@example.org"), Address("", "bo", "example.org"))

    def test_capitals(self):
        self.assertEqual(parse_address("Bo@Example.org").domain, "example.org")


if __name__ == "__main__":
    unittest.main()
