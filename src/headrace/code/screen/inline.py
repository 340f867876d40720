"""Marks within a line of markdown: code, strong, emphasis, links."""

import re

from headrace.code.screen.text import BOLD, CYAN, DIM, ITALIC, UNDERLINE, Line

_STRUCK = "9"
# Longer runs stay as they are: looking for closing marks costs the square of the length.
_CHARACTERS_MAX = 4_000
_MARK = re.compile(
    r"\\(?P<escaped>[\\`*_{}\[\]()#+.!~|>-])"
    r"|(?P<ticks>`+)(?P<code>.+?)(?<!`)(?P=ticks)(?!`)"
    r"|\*\*(?=\S)(?P<bold>.+?)(?<=\S)\*\*"
    r"|(?P<soft>\*|(?<!\w)_)(?=[^\s*_])(?P<italic>.+?)(?<=[^\s*_])(?P=soft)(?!\w)"
    r"|~~(?=\S)(?P<struck>.+?)~~"
    r"|!?\[(?P<label>[^\]]*)\]\((?P<url>[^)\s]+)[^)]*\)"
    r"|(?P<bare>https?://[^\s<>\"'`]+[^\s<>\"'`.,;:!?)\]])"
)


def inline(text: str, style: str = "") -> Line:
    """The spans of one paragraph."""
    if len(text) > _CHARACTERS_MAX:
        return [(style, text)]
    spans: Line = []
    at = 0
    for found in _MARK.finditer(text):
        if found.start() > at:
            spans.append((style, text[at : found.start()]))
        spans += _marked(found, style)
        at = found.end()
    if at < len(text):
        spans.append((style, text[at:]))
    return spans


def _marked(found: re.Match[str], style: str) -> Line:
    if (escaped := found["escaped"]) is not None:
        return [(style, escaped)]
    if (code := found["code"]) is not None:
        return [(_and(style, CYAN), code.strip() or code)]
    if (url := found["url"]) is not None:
        label = found["label"]
        shown: Line = inline(label, _and(style, UNDERLINE)) if label else []
        told = [] if label == url else [(_and(style, DIM), f" ({url})" if label else url)]
        return [*shown, *told]
    for group, added in (("bold", BOLD), ("italic", ITALIC), ("struck", _STRUCK)):
        if (inner := found[group]) is not None:
            return inline(inner, _and(style, added))
    return [(_and(style, UNDERLINE), found["bare"])]


def _and(style: str, added: str) -> str:
    if added in style.split(";"):
        return style
    return f"{style};{added}" if style else added
