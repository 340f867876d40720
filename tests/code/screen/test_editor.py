"""The words being typed."""

from pathlib import Path

from headrace.code.screen.editor import Editor
from headrace.code.screen.history import History


def typed(text: str, *keys: str) -> Editor:
    editor = Editor()
    editor.type(text)
    for key in keys:
        assert editor.press(key), key
    return editor


def test_words_and_lines_are_cut_and_put_back():
    editor = typed("one two three", "ctrl+w")
    assert editor.text == "one two "
    editor.press("ctrl+a")
    editor.press("ctrl+y")
    assert editor.text == "threeone two "
    editor.press("ctrl+k")
    assert editor.text == "three"
    editor.press("ctrl+u")
    assert editor.text == ""
    assert typed("a b c", "alt+b", "alt+b", "alt+d").text == "a  c"


def test_undo_takes_back_step_by_step():
    editor = typed("one two", "ctrl+w", "ctrl+_")
    assert (editor.text, editor.cursor) == ("one two", 7)
    editor.press("ctrl+_")
    assert editor.text == ""


def test_the_cursor_moves_over_what_a_person_takes_for_one_character():
    editor = typed("a👩‍👩‍👧é日", "left", "left", "left")
    assert editor.cursor == 1
    editor.press("delete")
    assert editor.text == "aé日"
    editor.press("end")
    editor.press("backspace")
    assert editor.text == "aé"


def test_a_backslash_before_enter_becomes_a_new_line():
    editor = typed("one\\")
    assert editor.breaks_line()
    assert editor.text == "one\n"
    assert not editor.breaks_line()


def test_large_pastes_are_folded_and_come_out_whole():
    editor = typed("see ")
    pasted = "\n".join(f"line {n}" for n in range(120))
    editor.paste(pasted)
    editor.type(" ok")
    assert editor.rows(80)[0].text == "see [pasted 120 lines] ok"
    assert editor.unfolded() == f"see {pasted} ok"
    for _ in range(3):
        editor.press("left")
    editor.press("backspace")
    assert editor.rows(80)[0].text == "see  ok"
    editor.press("ctrl+_")
    assert editor.take() == f"see {pasted} ok"
    assert editor.text == ""


def test_small_pastes_stand_as_they_are_without_control_characters():
    editor = Editor()
    editor.paste("a\nb\x1b[2J")
    assert editor.take() == "a\nb␛[2J"
    editor.replace("\x1b[31m")
    assert editor.rows(80)[0].text == "␛[31m"
    editor.insert("\x1b[2J\u202e")
    assert "\x1b" not in editor.text
    assert "\u202e" not in editor.text


def test_rows_wrap_by_width_and_up_and_down_follow_them():
    editor = typed("日本語日本語")
    rows = editor.rows(5)
    assert [row.text for row in rows] == ["日本", "語日", "本語"]
    assert editor.place(rows) == (2, 4)
    assert editor.vertical(-1)
    assert editor.place(editor.rows(5))[0] in {1, 2}
    editor = typed("one\ntwo longer\nx")
    editor.rows(40)
    assert editor.vertical(-1)
    assert editor.cursor == len("one\nt")
    assert editor.vertical(-1)
    assert not editor.vertical(-1)


def test_the_cursor_stands_where_it_types():
    editor = Editor()
    for at, character in enumerate("abcdef\ngh", 1):
        editor.type(character)
        rows = editor.rows(4)
        row, column = editor.place(rows)
        assert editor.cursor == at
        assert 0 <= column <= 4
        assert row == len(rows) - 1


def test_history_is_kept_once_each_and_a_cut_line_costs_itself(tmp_path: Path):
    path = tmp_path / "state" / "history"
    history = History()
    history.load(path)
    for words in ("one", "two", "two", " ", "three\nlines"):
        history.add(words)
    with path.open("ab") as file:
        file.write(b'"torn')
    assert path.stat().st_mode & 0o777 == 0o600
    again = History()
    again.add("typed early")
    again.load(path)
    assert again.entries == ["one", "two", "three\nlines", "typed early"]


def test_history_goes_up_and_comes_back_to_what_was_typed():
    history = History()
    for words in ("one", "two"):
        history.add(words)
    assert history.step(-1, "draft") == "two"
    assert history.step(-1, "two") == "one"
    assert history.step(-1, "one") is None
    assert history.step(1, "one") == "two"
    assert history.step(1, "two") == "draft"
    assert history.step(1, "draft") is None
    assert history.search("ON") == 0
    assert history.search("zzz") is None
