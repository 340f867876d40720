"""Names of pages as they stand in addresses."""

LONGEST = 40


def slug(title):
    """The part of an address that names a page."""
    letters = []
    for letter in title.lower():
        if letter.isalnum():
            letters.append(letter)
        else:
            letters.append("-")
    return "".join(letters)[:LONGEST]


def unique_slug(title, taken):
    """A slug that is not taken yet: tea, tea-2, tea-3 and so on."""
    first = slug(title)
    candidate, number = first, 2
    while candidate in taken:
        candidate = f"{first}-{number}"
        number += 1
    return candidate
