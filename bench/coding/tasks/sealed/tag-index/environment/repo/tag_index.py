"""Which documents carry which tags."""


class TagIndex:
    def __init__(self):
        self._documents = {}

    def add(self, document, tags):
        for tag in tags:
            self._documents.setdefault(tag, set()).add(document)

    def tags(self):
        """All tags that a document has, sorted."""
        return sorted(tag for tag, found in self._documents.items() if found)

    def documents(self, tag):
        """The documents with a tag, sorted."""
        return sorted(self._documents.get(tag, ()))

    def tags_of(self, document):
        return [tag for tag in self.tags() if document in self._documents[tag]]
