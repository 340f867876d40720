import unittest

from address import Address, parse_address


class Hidden(unittest.TestCase):
    def test_with_a_name(self):
        self.assertEqual(
            parse_address('"Ann Lee" <Ann@Example.ORG>'), Address("Ann Lee", "Ann", "example.org")
        )

    def test_written_again(self):
        self.assertEqual(str(parse_address("Bo@MAIL.Example.org")), "Bo@mail.example.org")
        self.assertEqual(str(parse_address("Ann <a@B.c>")), "Ann <a@b.c>")

    def test_refuses(self):
        for text in ("ann", "@b.c", "ann@", "Ann <ann>"):
            with self.assertRaises(ValueError):
                parse_address(text)


if __name__ == "__main__":
    unittest.main()
