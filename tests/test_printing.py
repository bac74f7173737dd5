"""Texts of others are shown and not obeyed."""

import csv
import io
import json
import re
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rga.cli import say
from rga.printing import is_plain, markdown, printable, spreadsheet

ANY = st.text(st.characters(), max_size=30) | st.text("\x1b[]<>&;#`|(!)\n\r\t\u202e\x9b\ud800ab", max_size=30)


@given(ANY)
def test_a_terminal_is_given_nothing_to_obey(text: str) -> None:
    shown = printable(text)
    shown.encode()  # no halves of pairs
    for sign in shown:
        assert sign in "\n\t" or unicodedata.category(sign) not in ("Cc", "Cs", "Zl", "Zp")
    assert not re.search("[\u202a-\u202e\u2066-\u2069]", shown)
    if is_plain(text):
        assert shown == text


@given(st.text(st.characters(exclude_categories=("Cs",)), max_size=30))
def test_json_stays_what_it_says(text: str) -> None:
    assert json.loads(printable(json.dumps({"name": text}, ensure_ascii=False))) == {"name": text}


@given(ANY)
def test_a_page_is_given_no_markup(text: str) -> None:
    shown = markdown(text)
    assert "\n" not in shown
    assert "\r" not in shown
    assert "<" not in shown
    assert "](" not in shown
    assert "`" not in shown
    assert not re.search(r"&(?!amp;|lt;|#96;|#40;)#?\w+;", shown)


@given(ANY)
def test_a_spreadsheet_is_given_no_formula(text: str) -> None:
    file = io.StringIO(newline="")
    csv.writer(file).writerow([spreadsheet(text), "x"])
    file.seek(0)
    ((cell, _),) = csv.reader(file)
    assert not cell.startswith(("=", "+", "-", "@", "\t", "\r"))


def test_what_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    say("a \x1b]0;title\x07name\n\tof two lines", err=True)
    assert capsys.readouterr().err == "a \\u001b]0;title\\u0007name\n\tof two lines\n"
