"""What stands behind the question mark of admin requests."""

from starlette.datastructures import QueryParams

from headrace.core.errors import InvalidRequest

_DIGITS_MAX = 19
_NUMBER_MAX = 2**63 - 1  # what a database can compare with


def number(query: QueryParams, name: str) -> int | None:
    """A whole number, None where it is not there.

    Raises:
        InvalidRequest: It is something else.
    """
    text = query.get(name)
    if text is None:
        return None
    found = int(text) if text.isascii() and text.isdigit() and len(text) <= _DIGITS_MAX else None
    if found is None or found > _NUMBER_MAX:
        raise InvalidRequest(f"{name} is not a whole number", param=name)
    return found


def page_size(query: QueryParams, *, default: int, most: int) -> int:
    """How many rows a page may hold.

    Raises:
        InvalidRequest: It is no number from 1 to `most`.
    """
    found = number(query, "limit")
    if found is None:
        return default
    if not 1 <= found <= most:
        raise InvalidRequest(f"limit is from 1 to {most}", param="limit")
    return found
