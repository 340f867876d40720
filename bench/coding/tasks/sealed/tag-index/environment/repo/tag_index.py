"""Which documents carry which tags."""


class TagIndex:
    def __init__(self):
        self._documents = {}

    def add(self, document, tags):
        for tag in tags:
            self._documents.setdefault(tag, set()).add(document)

    def tags(self):
        """All tags in use, sorted."""
        return sorted(self._documents)

    def documents(self, tag):
        """The documents with a tag, sorted."""
        return sorted(self._documents.get(tag, ()))

    def tags_of(self, document):
        return [tag for tag in self.tags() if document in self._documents[tag]]

    def rename(self, old, new):
        """A tag gets another name; where that exists, the two become one."""
        moved = self._documents.pop(old, set())
        if moved:
            self._documents.setdefault(new, set()).update(moved)
