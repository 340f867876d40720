"""Replace one passage of a text by another: exactly, else as surely meant, else not at all."""

from headrace.code.edits.results import Applied, Refused, Result


def apply(text: str, old: str, new: str, *, every: bool = False) -> Result:
    """Replace `old` by `new` in `text`.

    Args:
        text: A file's text, its line ends as they are.
        old: The passage as the model wrote it.
        new: What shall stand there.
        every: Replace all matches instead of refusing when there are several.
    """
    if old == new:
        return Refused("The edit changes nothing: old and new text are the same.")
    if text.count(old) != 1 and not every:
        return Refused("not found once")
    return Applied(text=text.replace(old, new), first_line=1, last_line=1)
