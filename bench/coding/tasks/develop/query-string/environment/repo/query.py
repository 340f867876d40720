"""Reads what a person types into the search field."""

from dataclasses import dataclass, field


@dataclass
class Query:
    words: list = field(default_factory=list)
    tags: list = field(default_factory=list)


def parse(text):
    """Words and #tags of a search, in small letters."""
    query = Query()
    for part in text.lower().split():
        if part.startswith("#"):
            if len(part) > 1:
                query.tags.append(part[1:])
        else:
            query.words.append(part)
    return query
