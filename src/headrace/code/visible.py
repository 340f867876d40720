"""Characters that people do not see, made visible, so that a text says what it seems to say.

Models read what people cannot: text in invisible characters, or in an order that the screen turns
around. Joiners and selectors that belong to an emoji stay.
"""

import re

_INVISIBLE = (
    "\x00-\x08\x0b-\x1f\x7f-\x9f"  # control characters but tab and line feed
    "\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f"
    "\u200b-\u200f\u2028-\u202e\u2060-\u206f\u3164\ufe00-\ufe0f\ufeff\uffa0\ufff0-\ufffb"
    "\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0000-\U000e0fff"
)
_PICTURES = (
    "\u00a9\u00ae\u203c\u2049\u2122\u2139\u2190-\u2bff\u3030\u303d\u3297\u3299\U0001f000-\U0001faff"
)
# An emoji's own parts: one selector behind a picture or a key, and joiners between pictures.
_SHOWN = re.compile(
    f"(?<=[{_PICTURES}0-9#*])[\ufe0e\ufe0f]"
    f"|(?<=[{_PICTURES}\ufe0f])\u200d(?=[{_PICTURES}])"
    f"|([{_INVISIBLE}])"
)


def visible(text: str) -> tuple[str, int]:
    """The text with each invisible character written as `<U+200B>`, and how many there were."""
    count = 0

    def shown(found: re.Match[str]) -> str:
        nonlocal count
        if found[1] is None:
            return found[0]
        count += 1
        return f"<U+{ord(found[1]):04X}>"

    return _SHOWN.sub(shown, text), count
