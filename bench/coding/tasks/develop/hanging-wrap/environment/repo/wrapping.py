"""Breaks text into lines for the terminal."""


def wrap(text, width):
    """Lines of at most `width` characters; longer words stand alone."""
    lines, line = [], ""
    for word in text.split():
        if line and len(line) + 1 + len(word) > width:
            lines.append(line)
            line = word
        elif line:
            line = f"{line} {word}"
        else:
            line = word
    if line:
        lines.append(line)
    return lines


def bullets(items, width):
    """The items as a list with dashes."""
    lines = []
    for item in items:
        lines.extend(wrap(f"- {item}", width))
    return lines
