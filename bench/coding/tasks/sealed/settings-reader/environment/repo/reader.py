"""Reads files of settings: one `name = value` a line."""


def value_of(text):
    """A number where the text is one, else the text."""
    try:
        return int(text)
    except ValueError:
        return text


def read(text):
    """The settings of a text, by name."""
    settings = {}
    for number, line in enumerate(text.splitlines(), start=1):
        name, equals, value = line.partition("=")
        if not equals:
            raise ValueError(f"line {number}: no equals sign")
        settings[name.strip()] = value_of(value.strip())
    return settings
