import copy
import unittest

import overlay as module
from overlay import overlay, settings


class Hidden(unittest.TestCase):
    def test_two_levels(self):
        mail = settings({"mail": {"port": 2525, "tls": {"minimum": 3}}})["mail"]
        self.assertEqual(mail, {"host": "localhost", "port": 2525, "tls": {"verify": True, "minimum": 3}})

    def test_arguments_stay(self):
        before = copy.deepcopy(module.DEFAULTS)
        settings({"mail": {"tls": {"verify": False}}})
        self.assertEqual(module.DEFAULTS, before)

    def test_lists_and_plain_values_are_replaced(self):
        self.assertEqual(settings({"paths": ["x"]})["paths"], ["x"])
        self.assertEqual(overlay({"a": {"b": 1}}, {"a": 5}), {"a": 5})
        self.assertEqual(overlay({"a": 5}, {"a": {"b": 1}}), {"a": {"b": 1}})

    def test_new_keys(self):
        self.assertEqual(overlay({"a": {}}, {"a": {"b": {"c": 1}}}), {"a": {"b": {"c": 1}}})

    def test_unknown_is_refused(self):
        with self.assertRaises(KeyError):
            settings({"mial": {}})


if __name__ == "__main__":
    unittest.main()
