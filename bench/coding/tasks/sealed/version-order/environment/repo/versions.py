"""Compares the versions of packages."""


def parts(version):
    """The parts of a version such as 1.10.2."""
    return version.strip().removeprefix("v").split(".")


def is_newer(version, other):
    """Whether a version is newer than another one."""
    return parts(version) > parts(other)


def newest(versions):
    """The newest of some versions; of equal ones the first."""
    found = None
    for version in versions:
        if found is None or is_newer(version, found):
            found = version
    return found


def outdated(installed, available):
    """Names of the installed packages of which a newer version is available."""
    return sorted(
        name
        for name, version in installed.items()
        if name in available and is_newer(available[name], version)
    )
