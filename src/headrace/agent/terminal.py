"""Text from models on a terminal: it may write, it may not command."""

_VISIBLE_KEPT = "\n\t"
_CONTROL_PICTURES = 0x2400
_DELETE, _DELETE_PICTURE = 0x7F, 0x2421
_REPLACEMENT = "\N{REPLACEMENT CHARACTER}"
# Marks that turn the direction of writing make text read differently from what it is.
_DIRECTION_MARKS = (*range(0x202A, 0x202F), *range(0x2066, 0x206A))

_NEUTRAL = {
    **{code: chr(_CONTROL_PICTURES + code) for code in range(0x20)},
    _DELETE: chr(_DELETE_PICTURE),
    **dict.fromkeys((*range(0x80, 0xA0), *_DIRECTION_MARKS), _REPLACEMENT),
}
for _kept in _VISIBLE_KEPT:
    del _NEUTRAL[ord(_kept)]


def neutral(text: str) -> str:
    """The text with every control character but line feed and tab made visible.

    It may be cut anywhere: each character is judged alone.
    """
    return text.translate(_NEUTRAL)


def one_line(text: str, chars_max: int) -> str:
    """The text as one line, cut to a length: line feeds are made visible, too.

    For lines of our own that quote others, who could forge further lines of ours.
    """
    cut = text if len(text) <= chars_max else f"{text[: chars_max - 1]}…"
    shown = neutral(cut).replace("\n", "␊").replace("\t", " ")
    return shown.replace("\u2028", _REPLACEMENT).replace("\u2029", _REPLACEMENT)
