"""What guided mode says to small models: short, concrete, without names that could be copied."""

SYSTEM = "You are a careful programmer. You are shown a project and a task, and answer with code."
ANSWER_SYSTEM = "You are a helpful programmer. You are shown a project and asked about it."

FILES = "The files of the project:"
OUTLINE = "In short, the rest of the project:"
FAILING = "`{command}` fails now:"
CONVERSATION = "Said before:"
TASK = "The task: {task}"
CHANGED = "Changed already, in {file}:"

REWRITE = """\
Write the new version of `{name}`{home} in {file}, which does all that the task asks of it. Answer \
with the new `{name}` alone, whole, in one code block."""
REWRITE_SHOWN = """\
This is `{name}`{home} in {file} as it is now:

{code}

Rewrite `{name}` so that it does all that the task asks of it. Answer with the new `{name}` alone, \
whole, in one code block."""
IMPORTS = "If it needs a new import, write the import above it."
ADD = """\
Write the new `{name}`{home} in {file}, just as the task says. Answer with `{name}` alone, whole, \
in one code block."""
ALL = """\
Write the functions and classes that have to change or are new, each whole, in one code block for \
each file. The first line of a block is a comment with the name of its file. Leave out everything \
that stays as it is."""
AGAIN = """\
With this `{name}` in {file}:

{code}

{problem}

Find the mistake in it. Answer with the corrected `{name}` alone, whole, in one code block."""
FAILS = "`{command}` fails:\n\n{output}"
ASKED = "Answer in a few sentences."

CHECKS = """\
The task names what must hold when it is done. Write that as a test: a class \
`Checks(unittest.TestCase)` with one short method for each fact or example of the task, with \
literal values out of the task. Import the project's code, do not copy it. Answer with the test \
alone, in one code block."""
CHECKS_BEGUN = "```python\nimport unittest"
RUN_CHECKS = """\
python3 - <<'CHECKS'
{code}

if __name__ == "__main__":
    import signal

    signal.alarm({limit_s})
    unittest.main(argv=["checks"])
CHECKS"""
