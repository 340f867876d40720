"""Fills the placeholders of a letter: {name} or {name|default}."""

import re

PLACEHOLDER = re.compile(r"\{(\w+)(?:\|([^{}]*))?\}")


def names(template):
    """The names of all placeholders, each once, in order."""
    found = []
    for match in PLACEHOLDER.finditer(template):
        if match[1] not in found:
            found.append(match[1])
    return found


def fill(template, values):
    """The template with its placeholders replaced."""

    def replace(match):
        return str(values[match[1]])

    return PLACEHOLDER.sub(replace, template)
