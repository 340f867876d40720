"""Which names in a workspace make programs outside run something, and which hold secrets.

Names are compared as the laxest file system would: without case, in one Unicode form, without
characters that some file systems ignore, without the dots and spaces that Windows drops.
"""

import unicodedata
from collections.abc import Iterable


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


# Settings of assistants and editors, and files that shells, hooks of git and package managers act
# on by themselves. `.git` itself is treated apart: most of it must stay writable.
PROTECTED_NAMES = _words(
    ".headrace .claude .claude.json .codex .cursor .cursorrules .gemini .agents .agent .mcp.json"
    " .windsurf .windsurfrules .cline .clinerules .roo .continue .aider.conf.yml .opencode .qwen"
    " .amazonq .kiro .junie"
    " .vscode .idea .zed .fleet .vs .devcontainer .devcontainer.json"
    " .vimrc .exrc .nvimrc .nvim.lua .dir-locals.el .gdbinit .lldbinit"
    " .envrc .autoenv .autoenv.zsh .tmux.conf .ripgreprc .inputrc .ssh"
    " .bashrc .bash_profile .bash_login .bash_logout .bash_aliases .profile"
    " .zshrc .zshenv .zprofile .zlogin .zlogout"
    " .gitmodules .gitconfig .githooks .hgrc .husky .lefthook .lefthook.yml .lefthook-local.yml"
    " .pre-commit-config.yaml .pre-commit-config.yml"
)
# In a git directory: what makes git run programs, or look for its settings elsewhere.
GIT_PROTECTED_NAMES = frozenset({"hooks", "config", "config.worktree", "commondir"})
# All that a git directory is made of; whatever its own name is.
_GIT_NAMES = GIT_PROTECTED_NAMES | _words(
    "head objects refs info logs modules worktrees packed-refs gitdir index"
)

_SECRET_NAMES = _words(
    ".env .netrc _netrc .npmrc .pypirc .pgpass .my.cnf .git-credentials .htpasswd .dockercfg"
    " .vault-token credentials.json credentials.toml service-account.json secrets.toml"
    " id_rsa id_dsa id_ecdsa id_ed25519 id_ecdsa_sk id_ed25519_sk"
)
_SECRET_ENDINGS = (".pem", ".p12", ".pfx", ".jks", ".keystore", ".kdbx", ".ppk")
_SECRET_FOLDERS = _words(".ssh .aws .gnupg .azure .kube .docker")
_HARMLESS_ENV = frozenset({"example", "sample", "template", "dist", "defaults", "schema"})
_IGNORED = dict.fromkeys((*range(8203, 8208), *range(8234, 8239), *range(8288, 8304), 65279, 173))


def folded(name: str) -> str:
    """The form in which names are compared."""
    if name.isascii():  # nearly all are
        return name.lower().rstrip(". ") or name
    plain = unicodedata.normalize("NFKC", name).translate(_IGNORED).casefold()
    return plain.rstrip(". ") or name


def protected_part(path: str) -> str | None:
    """The part of a relative path that nobody but the user may write; None where none is.

    All of a git directory counts here: only git itself, in the sandbox, writes to that.
    """
    for name in path.split("/"):
        plain = folded(name)
        if plain == ".git" or plain.startswith("git~") or plain in PROTECTED_NAMES:
            return name
    return None


def makes_git_directory(name: str, beside: Iterable[str]) -> bool:
    """Whether git would obey a folder in which `name` is written, next to what is there.

    Any folder with a HEAD and either its own objects and refs or a pointer to others is a
    repository to git, and its settings may name programs.
    """
    if folded(name) not in _GIT_NAMES:
        return False
    names = {folded(name), *map(folded, beside)}
    return "head" in names and ("commondir" in names or {"objects", "refs"} <= names)


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
