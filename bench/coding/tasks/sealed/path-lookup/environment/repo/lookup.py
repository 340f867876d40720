"""Finds values in nested data by paths such as "people.0.name"."""


def lookup(data, path, default=None):
    """The value at a path, or the default."""
    for part in path.split("."):
        if part not in data:
            return default
        data = data[part]
    return data


def column(rows, path, default=""):
    """The value at a path in each of the rows."""
    return [lookup(row, path, default) for row in rows]
