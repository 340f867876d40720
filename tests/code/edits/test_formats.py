"""Patches, blocks and whole files, as models write them."""

import pytest

from headrace.code.edits import encoding, patch, search_replace, whole_file
from headrace.code.edits.match import apply
from headrace.code.edits.parses import checked, error_line
from headrace.code.edits.results import Applied, Refused

PAGE = "def f(a):\n    return a\n\n\ndef g(b):\n    return b\n"
UPDATE = """*** Begin Patch
*** Update File: a/f.py
@@ def g(b):
-    return b
+    return b + 1
*** End Patch
"""
UNIFIED = """--- a/f.py
+++ b/f.py
@@ -40,2 +40,2 @@
 def g(b):
-    return b
+    return b + 1
"""


@pytest.mark.parametrize("text", [UPDATE, UNIFIED])
def test_patches_apply_whatever_their_numbers_say(text: str):
    found = patch.read(text)
    assert not isinstance(found, Refused)
    result = patch.apply(PAGE, found[0])
    assert isinstance(result, Applied)
    assert result.text == PAGE.replace("return b", "return b + 1")


def test_a_patch_adds_and_deletes():
    found = patch.read(
        "*** Begin Patch\n*** Add File: n.py\n+a = 1\n+b = 2\n*** Delete File: o.py\n"
    )
    assert not isinstance(found, Refused)
    result = patch.apply(None, found[0])
    assert isinstance(result, Applied)
    assert result.text == "a = 1\nb = 2\n"
    assert found[1].deletes
    assert isinstance(patch.apply("there", found[0]), Refused)


def test_what_is_no_patch_is_refused_with_how_to_write_one():
    found = patch.read("please change it")
    assert isinstance(found, Refused)
    assert "*** Begin Patch" in found.why


def test_a_hunk_that_does_not_fit_changes_nothing():
    found = patch.read(UNIFIED.replace("-    return b", "-    return c"))
    assert not isinstance(found, Refused)
    result = patch.apply(PAGE, found[0])
    assert isinstance(result, Refused)
    assert "Hunk 1 of 1" in result.why


def test_search_replace_blocks_are_found_with_their_files():
    reply = (
        "Sure:\n\nsrc/f.py\n```python\n<<<<<<< SEARCH\na\n=======\nb\n>>>>>>> REPLACE\n```\n"
        "and\n<<<<<<< SEARCH\nc\n=======\n>>>>>>> REPLACE\n"
    )
    assert search_replace.find(reply) == (
        search_replace.Block("src/f.py", "a\n", "b\n"),
        search_replace.Block("src/f.py", "c\n", ""),
    )


@pytest.mark.parametrize(
    ("reply", "files"),
    [
        ("Here:\n```python\na = 1\n```\nDone.", [("f.py", "a = 1\n")]),
        ("**f.py**\n```\na = 1\n```\n```bash\npytest\n```\n", [("f.py", "a = 1\n")]),
        ("```python f.py\na = 1\n```", [("f.py", "a = 1\n")]),
        ("```py\n# f.py\na = 1\n", [("f.py", "# f.py\na = 1\n")]),
        ("import os\n\nprint(os.name)\n", [("f.py", "import os\n\nprint(os.name)\n")]),
        ("```sh\npytest\n```", []),
        ("I cannot do that.", []),
    ],
)
def test_whole_files_are_found_in_replies(reply: str, files: list[tuple[str, str]]):
    assert [tuple(each) for each in whole_file.find(reply, ["f.py"])] == files


def test_files_are_told_apart_by_their_names():
    reply = "`a.py`:\n```python\na = 1\n```\n`lib/b.py`:\n```python\nb = 1\n```\n"
    found = whole_file.find(reply, ["a.py", "src/lib/b.py"])
    assert [each.name for each in found] == ["a.py", "src/lib/b.py"]


@pytest.mark.parametrize(
    "line", ["# ... rest unchanged", "// ... existing code ...", "# rest of the code", "..."]
)
def test_what_leaves_lines_out_is_refused(line: str):
    result = whole_file.replace(PAGE, f"def f(a):\n    return 2\n\n{line}\n")
    assert isinstance(result, Refused)
    assert "Write the whole file" in result.why


def test_the_same_file_again_is_refused():
    assert isinstance(whole_file.replace(PAGE, PAGE), Refused)
    assert isinstance(whole_file.replace(PAGE.replace("\n", "\r\n"), PAGE), Refused)


def test_a_whole_file_keeps_its_line_ends():
    result = whole_file.replace("a\r\nb\r\n", "a\nc\n")
    assert isinstance(result, Applied)
    assert result.text == "a\r\nc\r\n"


# A file that parsed must parse


@pytest.mark.parametrize(
    ("name", "good", "bad"),
    [
        ("a.py", "x = 1\n", "x = = 1\n"),
        ("a.json", "{}\n", "{\n"),
        ("a.js", "f(1);\n", "f(1;\n"),
        ("a.ts", "let x: number = 1;\n", "let x: = 1;\n"),
        ("a.tsx", "const a = <b/>;\n", "const a = <b;\n"),
        ("a.go", "package a\n", "package a\nfunc {\n"),
        ("a.rs", "fn f() {}\n", "fn f( {}\n"),
        ("a.rb", "def f\nend\n", "def f(\nend end\n"),
        ("a.sh", "if x; then y; fi\n", "if x; then y\n"),
        ("a.java", "class A {}\n", "class A {\n"),
        ("a.c", "int x;\n", "int x = ;\n"),
        ("a.cpp", "int x;\n", "int x = ;\n"),
        ("a.css", "a { b: c }\n", "a { b: c\n"),
    ],
)
def test_errors_are_found_in_every_language(name: str, good: str, bad: str):
    assert error_line(name, good) is None
    assert error_line(name, bad) is not None
    result = checked(name, good, Applied(text=bad, first_line=1, last_line=1))
    assert isinstance(result, Refused)
    assert "would no longer parse" in result.why


def test_a_file_that_did_not_parse_may_be_edited():
    result = Applied(text="x = = 2\n", first_line=1, last_line=1)
    assert checked("a.py", "x = = 1\n", result) == result


def test_one_wrong_indentation_is_mended():
    page = "def f(a):\n    if a:\n        return 1\n"
    result = checked("f.py", page, apply(page, "        return 1\n", "return 2\n"))
    assert isinstance(result, Applied)
    assert result.text == page.replace("return 1", "return 2")
    assert "indentation mended" in result.notes


def test_two_ways_to_mend_are_none():
    page = "def f(a):\n    if a:\n        g()\n    return 1\n"
    result = checked("f.py", page, apply(page, "    return 1\n", "      return 2\n"))
    assert isinstance(result, Refused)


# Bytes


@pytest.mark.parametrize(
    "data", [b"a\n", b"\xef\xbb\xbfa\r\n", b"\xff\xfea\0\n\0", b"caf\xe9\n", "é\n".encode()]
)
def test_bytes_survive(data: bytes):
    source = encoding.decode(data)
    assert source is not None
    assert source.encode(source.text) == data


def test_binary_is_no_text():
    assert encoding.decode(b"\x7fELF\0\0") is None
