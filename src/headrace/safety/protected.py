"""Which names in a workspace make programs outside run something, and which hold secrets.

Names are compared as the laxest file system would: without case, in one Unicode form, without
characters that some file systems ignore, without the dots and spaces that Windows drops.
"""

import unicodedata
from collections.abc import Iterable

# Settings of assistants and editors, and files that shells and package managers act on by
# themselves. `.git` itself is treated apart: most of it must stay writable.
PROTECTED_NAMES = frozenset(
    {
        ".headrace",
        ".claude",
        ".claude.json",
        ".codex",
        ".cursor",
        ".cursorrules",
        ".gemini",
        ".agents",
        ".agent",
        ".mcp.json",
        ".vscode",
        ".idea",
        ".zed",
        ".envrc",
        ".devcontainer",
        ".gitmodules",
        ".gitconfig",
        ".bashrc",
        ".bash_profile",
        ".profile",
        ".zshrc",
        ".zshenv",
        ".zprofile",
        ".ssh",
    }
)
# In a git directory: what makes git run programs, or look for its settings elsewhere.
GIT_PROTECTED_NAMES = frozenset({"hooks", "config", "config.worktree", "commondir"})

_SECRET_NAMES = frozenset(
    {
        ".env",
        ".netrc",
        "_netrc",
        ".npmrc",
        ".pypirc",
        ".pgpass",
        ".git-credentials",
        ".htpasswd",
        ".dockercfg",
        "credentials.json",
        "service-account.json",
        "id_rsa",
        "id_dsa",
        "id_ecdsa",
        "id_ed25519",
    }
)
_SECRET_ENDINGS = (".pem", ".p12", ".pfx", ".jks", ".keystore", ".kdbx", ".ppk")
_SECRET_FOLDERS = frozenset({".ssh", ".aws", ".gnupg", ".azure", ".kube"})
_HARMLESS_ENV = frozenset({"example", "sample", "template", "dist", "defaults", "schema"})
_IGNORED = dict.fromkeys((*range(8203, 8208), *range(8234, 8239), *range(8288, 8304), 65279, 173))


def folded(name: str) -> str:
    """The form in which names are compared."""
    if name.isascii():  # nearly all are
        return name.lower().rstrip(". ") or name
    plain = unicodedata.normalize("NFKC", name).translate(_IGNORED).casefold()
    return plain.rstrip(". ") or name


def is_protected_name(name: str) -> bool:
    """Whether a file or folder of this name is settings that something outside acts on."""
    return folded(name) in PROTECTED_NAMES


def protected_part(path: str) -> str | None:
    """The part of a relative path that nobody but the user may write; None where none is.

    All of a git directory counts here: only git itself, in the sandbox, writes to that.
    """
    for name in path.split("/"):
        plain = folded(name)
        if plain == ".git" or plain.startswith("git~") or plain in PROTECTED_NAMES:
            return name
    return None


def is_secret(path: str) -> bool:
    """Whether a file's name says that it holds keys or passwords, such as `.env` and `*.pem`."""
    *folders, name = [folded(part) for part in path.split("/")]
    if name in _SECRET_NAMES or name.endswith(_SECRET_ENDINGS):
        return True
    if name.startswith(".env.") and name.rpartition(".")[2] not in _HARMLESS_ENV:
        return True
    return _is_any_in(folders, _SECRET_FOLDERS)


def _is_any_in(names: Iterable[str], wanted: frozenset[str]) -> bool:
    return any(name in wanted for name in names)
