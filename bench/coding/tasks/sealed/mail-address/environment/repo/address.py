"""Reads mail addresses as people write them."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Address:
    name: str
    local: str
    domain: str

    def __str__(self):
        plain = f"{self.local}@{self.domain}"
        return f"{self.name} <{plain}>" if self.name else plain


def parse_address(text):
    """An address such as `Ann <ann@example.org>` or `ann@example.org`."""
    text = text.strip()
    name, plain = "", text
    if text.endswith(">"):
        name, _, plain = text[:-1].partition("<")
        name = name.strip(' "')
    local, at, domain = plain.partition("@")
    if not at or not local or not domain:
        raise ValueError(f"no address: {text}")
    return Address(name, local, domain)
