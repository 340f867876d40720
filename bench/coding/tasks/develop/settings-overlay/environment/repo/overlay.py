"""Settings of the user laid over the defaults."""

DEFAULTS = {
    "name": "station",
    "mail": {"host": "localhost", "port": 25, "tls": {"verify": True, "minimum": 2}},
    "paths": ["data"],
}


def overlay(base, changes):
    """A new dictionary: base with the changes laid over it."""
    merged = dict(base)
    for key, value in changes.items():
        merged[key] = value
    return merged


def settings(user):
    unknown = sorted(set(user) - set(DEFAULTS))
    if unknown:
        raise KeyError(", ".join(unknown))
    return overlay(DEFAULTS, user)
