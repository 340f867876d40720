"""A phone book; numbers are kept as digits with an optional plus."""


def clean(number):
    """A number without spaces, dashes and slashes."""
    for sign in " -/":
        number = number.replace(sign, "")
    return number


class PhoneBook:
    def __init__(self):
        self._numbers = {}

    def add(self, name, number):
        number = clean(number)
        if not number.removeprefix("+").isdigit():
            raise ValueError(f"no number: {number}")
        self._numbers[name] = number

    def number(self, name):
        return self._numbers[name]

    def by_name(self, start):
        """The sorted names that begin so, whatever the case; none for an empty start."""
        if not start:
            return []
        start = start.lower()
        return sorted(name for name in self._numbers if name.lower().startswith(start))
