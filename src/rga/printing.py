"""Texts that others have written, on a terminal or a page: shown as texts, never obeyed.

A file's name, or a text in a result that somebody sends, may hold escape sequences for the terminal, marks that
reverse the reading direction, or markup of the page that it is put into.
"""

import re
import unicodedata

# What orders text from right to left makes one name look like another one.
_DIRECTION = frozenset("\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
_UNSEEN = {"Cc", "Cs", "Zl", "Zp"}  # control characters, halves of pairs, separators of lines and paragraphs


_NO_MARKUP = str.maketrans({"<": "&lt;", "`": "&#96;"})  # as numbers they are no markup, whatever stands before them


def is_plain(text: str) -> bool:
    """Whether a text is one line of characters that are seen.

    >>> is_plain("cam 1, Zürich"), is_plain("\\x1b[2J"), is_plain("two\\nlines")
    (True, False, False)
    """
    return (text.isascii() and text.isprintable()) or not any(map(_is_unseen, text))


def duration(seconds: float) -> str:
    """A time for people.

    >>> duration(7.4), duration(67), duration(3661)
    ('7 s', '1 min 07 s', '1 h 01 min')
    """
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02} min" if hours else f"{minutes} min {rest:02} s" if minutes else f"{rest} s"


def printable(text: str) -> str:
    """A text for a terminal: what is not seen as its number, but for the ends of lines and tabs.

    >>> printable("a \\x1b[31mred\\nline")
    'a \\\\u001b[31mred\\nline'
    """
    if text.isascii() and text.replace("\n", "").isprintable():
        return text
    return "".join(f"\\u{ord(sign):04x}" if _is_unseen(sign) and sign not in "\n\t" else sign for sign in text)


def markdown(text: str) -> str:
    """A text for a Markdown page: no tags, entities, links, images or code of its own, and one line.

    >>> markdown("<b>x</b> [7] [a](b) `c`")
    '&lt;b>x&lt;/b> [7] [a]&#40;b) &#96;c&#96;'
    """
    line = printable(" ".join(text.splitlines())) if "\n" in text or "\r" in text else printable(text)
    return re.sub(r"&(?=#?\w+;)", "&amp;", line).translate(_NO_MARKUP).replace("](", "]&#40;")


def spreadsheet(text: str) -> str:
    """A text for a spreadsheet's cell, which would compute one that begins like a formula.

    >>> spreadsheet("=1+1"), spreadsheet("RGA-SC")
    ("'=1+1", 'RGA-SC')
    """
    return f"'{text}" if text.startswith(("=", "+", "-", "@", "\t", "\r")) else text


def _is_unseen(sign: str) -> bool:
    return sign in _DIRECTION or unicodedata.category(sign) in _UNSEEN
