"""Keys: what a terminal sends, as names.

`text` carries typed characters, `paste` what stood between paste brackets; all others are named
for the key with its modifiers, in the order ctrl, alt, shift: `enter`, `shift+tab`, `alt+b`.
"""

import codecs
import re
from typing import NamedTuple

ESCAPE_WAIT_S = 0.03
"""An escape byte that nothing follows for so long is the key Esc."""

_PASTE_BEGIN, _PASTE_END = "\x1b[200~", "\x1b[201~"
_PASTE_CHARACTERS_MAX = 8_000_000
_SEQUENCE_CHARACTERS_MAX = 64
_CSI = re.compile(r"\x1b\[([<-?]?[0-9:;]*)([ -/]*[@-~])")
_LETTERS = {
    "A": "up",
    "B": "down",
    "C": "right",
    "D": "left",
    "E": "begin",
    "F": "end",
    "H": "home",
    "P": "f1",
    "Q": "f2",
    "R": "f3",
    "S": "f4",
}
_NUMBERS = {
    1: "home",
    2: "insert",
    3: "delete",
    4: "end",
    5: "pageup",
    6: "pagedown",
    7: "home",
    8: "end",
}
_CODES = {8: "backspace", 9: "tab", 13: "enter", 27: "esc", 127: "backspace", 57414: "enter"}
_MODIFIERS = ((4, "ctrl"), (2, "alt"), (1, "shift"))
_SHIFT = 1
_OTHER_KEYS = 27  # the number under which xterm sends keys with modifiers
_OTHER_KEYS_FIELDS = 3
_PRIVATE_CODES = range(57344, 63744)  # keys without a character, in the Kitty protocol


class Key(NamedTuple):
    """One press, or one run of typed or pasted characters."""

    name: str
    text: str = ""


class Decoder:
    """Bytes in, keys out, wherever the bytes were cut."""

    def __init__(self) -> None:
        self._utf8 = codecs.getincrementaldecoder("utf-8")("replace")
        self._held = ""
        self._paste: list[str] | None = None

    @property
    def waits(self) -> bool:
        """Whether an escape may become a key of its own if nothing follows."""
        return self._paste is None and self._held.startswith("\x1b")

    def feed(self, data: bytes) -> list[Key]:
        """The keys that are complete with `data`."""
        self._held += self._utf8.decode(data)
        keys: list[Key] = []
        while self._held:
            key, used = self._pasting() if self._paste is not None else self._next()
            if not used:
                break
            self._held = self._held[used:]
            if key is not None:
                keys.append(key)
        return keys

    def flush(self) -> list[Key]:
        """Take what waited for what it is by itself."""
        held, self._held = self._held, ""
        if not held.startswith("\x1b"):
            self._held = held
            return []
        keys = [Key("esc")]
        return keys if len(held) == 1 else [*keys, *self.feed(held[1:].encode())]

    def _pasting(self) -> tuple[Key | None, int]:
        end = self._held.find(_PASTE_END)
        pasted = self._paste or []
        if end < 0:
            # The end mark may be cut: its beginning stays.
            cut = max(0, len(self._held) - len(_PASTE_END))
            if sum(map(len, pasted)) < _PASTE_CHARACTERS_MAX:
                pasted.append(self._held[:cut])
            self._paste = pasted
            return None, cut
        text = "".join([*pasted, self._held[:end]])[:_PASTE_CHARACTERS_MAX]
        self._paste = None
        text = text.replace("\r\n", "\n").replace("\r", "\n")
        return Key("paste", text), end + len(_PASTE_END)

    def _next(self) -> tuple[Key | None, int]:
        """The first key of what is held and its length; 0 if it is not complete."""
        held = self._held
        if held[0] == "\x1b":
            return self._escape(held)
        if held[0] < " " or held[0] == "\x7f":
            return Key(_control(held[0])), 1
        end = next((at for at, each in enumerate(held) if each < " " or each == "\x7f"), len(held))
        return Key("text", held[:end]), end

    def _escape(self, held: str) -> tuple[Key | None, int]:
        if held[1:2] == "\x1b":
            return Key("esc"), 1
        if held[1:2] == "[":
            return self._csi(held)
        if held in {"\x1b", "\x1bO"}:
            return None, 0
        if held[1] == "O":
            return Key(_LETTERS.get(held[2], "unknown")), 3
        name = _control(held[1]) if held[1] < " " or held[1] == "\x7f" else held[1]
        return Key(_with("alt", name)), 2

    def _csi(self, held: str) -> tuple[Key | None, int]:
        if held.startswith(_PASTE_BEGIN):
            self._paste = []
            return None, len(_PASTE_BEGIN)
        found = _CSI.match(held)
        if found is not None:
            return _sequence(found[1], found[2]), found.end()
        # Neither complete nor too long to become so: wait.
        return (None, 0) if len(held) < _SEQUENCE_CHARACTERS_MAX else (Key("unknown"), 2)


def _control(character: str) -> str:
    code = ord(character)
    if character == "\n":
        return "ctrl+j"
    if code in _CODES:
        return _CODES[code]
    return "ctrl+" + chr(code + 64).lower()


def _with(modifier: str, name: str) -> str:
    order = [each for _, each in _MODIFIERS]
    given = {*name.split("+")[:-1], modifier}
    return "+".join([*(each for each in order if each in given), name.rpartition("+")[2] or "+"])


def _sequence(fields: str, final: str) -> Key | None:
    if fields[:1] in {"<", "=", ">", "?"} or final in {"I", "O"}:
        return None  # a report of the terminal, no key
    numbers = [int(each.partition(":")[0] or 1) for each in fields.split(";")] if fields else []
    modifiers = numbers[1] - 1 if len(numbers) > 1 else 0
    if final == "u" and numbers:
        return _coded(numbers[0], modifiers)
    if final == "~" and numbers[:1] == [_OTHER_KEYS] and len(numbers) == _OTHER_KEYS_FIELDS:
        return _coded(numbers[2], modifiers)
    if final == "Z":
        return Key("shift+tab")
    named = _NUMBERS.get(numbers[0]) if final == "~" and numbers else _LETTERS.get(final)
    return Key(_modified(named or "unknown", modifiers))


def _coded(code: int, modifiers: int) -> Key | None:
    if code in _CODES:
        return Key(_modified(_CODES[code], modifiers))
    if code in _PRIVATE_CODES or not 0 < code <= 0x10FFFF:  # noqa: PLR2004 - the last character
        return None
    if modifiers in {0, _SHIFT}:
        return Key("text", chr(code).upper() if modifiers else chr(code))
    return Key(_modified(chr(code), modifiers))


def _modified(name: str, modifiers: int) -> str:
    return "+".join([*(word for bit, word in _MODIFIERS if modifiers & bit), name])
