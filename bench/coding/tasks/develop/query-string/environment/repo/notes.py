"""Notes that can be searched."""

from dataclasses import dataclass

from query import parse


@dataclass
class Note:
    text: str
    tags: tuple = ()


def matches(note, query):
    text = note.text.lower()
    if not all(word in text for word in query.words):
        return False
    return all(tag in note.tags for tag in query.tags)


def search(notes, text):
    query = parse(text)
    return [note for note in notes if matches(note, query)]
