"""The plain agent that calibrates a set: all files in one prompt, whole files asked back."""

import re
from pathlib import Path, PurePosixPath

from harbor import Task, is_test
from server import Served, complete

MAX_TOKENS = 3000
ASK = """\
Here are all files of a small Python project.

{files}

The task: {instruction}

Change the project so that the task is done. Write every file that you change as a whole: first \
a line with the name of the file, then its new content in one fenced block, just as the files \
stand above. Leave out the files that stay as they are.
"""
BLOCK = re.compile(r"^```[^\n]*\n(.*?)^```", re.DOTALL | re.MULTILINE)


def prompt(task: Task) -> str:
    """What the model is asked."""
    shown = [f"{name}\n```python\n{text}```" for name, text in task.files().items()]
    return ASK.format(files="\n\n".join(shown), instruction=task.instruction)


def files_in(answer: str, known: list[str]) -> dict[str, str]:
    """The files an answer holds, by name, read kindly.

    A block belongs to the file whose name stands in the two lines above it, in the block's
    fence, or in its first line; a lone block without one to the only source file.
    """
    found: dict[str, str] = {}
    blocks = list(BLOCK.finditer(answer))
    end = 0
    for block in blocks:
        above = "\n".join(answer[end : block.start()].strip().splitlines()[-2:])
        fence, first = block[0].splitlines()[0], block[1].split("\n", 1)[0]
        name = _name(above) or _name(fence) or (_name(first) if first.startswith("#") else None)
        if name is not None:
            found[name] = block[1]
        end = block.end()
    sources = [name for name in known if not is_test(name)]
    if not found and len(blocks) == 1 and len(sources) == 1:
        found[sources[0]] = blocks[0][1]
    return found


def _name(text: str) -> str | None:
    names = re.findall(r"[A-Za-z0-9_./-]+\.(?:py|txt|md|json|toml|ini|csv)\b", text)
    path = PurePosixPath(names[-1]) if names else None
    if path is None or path.is_absolute() or ".." in path.parts:
        return None
    return path.as_posix()


def solve(task: Task, work: Path, served: Served) -> tuple[str, str]:
    """Ask once and write what comes back; how it ended, and the transcript."""
    asked = prompt(task)
    try:
        answer = complete(served, asked, max_tokens=MAX_TOKENS, s_max=task.agent_s_max)
    except TimeoutError:
        return "timeout", asked
    files = files_in(answer, list(task.files()))
    for name, text in files.items():
        (work / name).parent.mkdir(parents=True, exist_ok=True)
        (work / name).write_text(text)
    return ("0" if files else "no files"), f"{asked}\n=== answer ===\n{answer}"
