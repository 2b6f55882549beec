"""Texts from outside made fit to be shown: short, without secrets, on one line.

A server's message, a row's key or a value of the configuration may be of any size and hold any
character. It is cut first; every regular expression here takes time linear in what is left.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, MutableMapping
from typing import Any, Final

LONGEST_TEXT: Final = 2_000  # characters of one text that a report, the state or a log keeps
LONGEST_TRACEBACK: Final = 20_000
MOST_ITEMS: Final = 1_000  # of a list in one event

_HIDDEN: Final = "***"
_SECRET_KEYS: Final = frozenset({"password", "passwd", "secret", "sslpassword"})

_BLANKS: Final = re.compile(r"(\s+)")
_LOGIN_END: Final = re.compile(r"[:@]")
_ADDRESS: Final = re.compile(r"\[[0-9A-Fa-f:.]*\]")
_PORT: Final = re.compile(r"\d{1,5}(?!\w)")


def _percent_encodable(word: str) -> str:
    """Return a pattern for a word in which a URI may have encoded any letter."""
    return "".join(f"(?:{letter}|%{ord(letter):x}|%{ord(letter) - 32:x})" for letter in word)


# A quoted value that never ends reaches to the end of the text: the pattern cannot fail there,
# so nothing is read twice. An unquoted one ends at a blank only: rather too much is hidden.
_KEY_SECRET: Final = re.compile(
    rf"""({_percent_encodable("password")}|passwd|passphrase|secret)(["']?\s*[=:]\s*)"""
    r"""((?:'(?:[^'\\]|\\.)*+'?|"(?:[^"\\]|\\.)*+"?|[^\s'"]++)++)""",
    re.IGNORECASE | re.DOTALL,
)

# C0, DEL, C1, separators of lines, surrogates, and the invisible characters that reorder, join
# or hide text: what can end a line, steer a terminal or make one name look like another.
_STEERING: Final = (
    "\x7f-\x9f\xad\u061c\u180e\u200b-\u200f\u2028-\u202e\u2060-\u206f\ud800-\udfff\ufeff"
    "\ufff9-\ufffb\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0000-\U000e007f"
)
_UNSAFE: Final = re.compile(f"[\x00-\x1f{_STEERING}]")
_UNSAFE_IN_JSON: Final = re.compile(f"[{_STEERING}]")

EventDict = MutableMapping[str, Any]
Processor = Callable[[Any, str, EventDict], Any]


def bounded(text: str, limit: int = LONGEST_TEXT) -> str:
    """Return a text of at most ``limit`` characters and a mark that tells what was cut."""
    if len(text) <= limit:
        return text
    head = text[:limit]
    # what is left of a URI could end within its password, which then would not look like one
    scheme = head.rfind("://")
    if scheme >= 0 and _BLANKS.search(head, scheme) is None:
        head = head[: scheme + len("://")]
    return f"{head}... ({len(text)} characters)"


def redact(text: str) -> str:
    """Hide passwords in what looks like a DSN, URI or key=value; the last line of defence."""
    return _KEY_SECRET.sub(rf"\1\2{_HIDDEN}", _without_logins(text))


def one_line(text: str) -> str:
    """Escape what could end a line or steer a terminal."""
    return _UNSAFE.sub(escaped, text)


def presentable(text: str, limit: int = LONGEST_TEXT) -> str:
    """Return a text of any origin as it may be shown: short, without secrets, on one line."""
    return one_line(redact(bounded(text, limit)))


def safe_json(value: object, *, indent: int | None = None) -> str:
    """Return JSON in which no character steers a terminal; it reads back unchanged."""
    text = json.dumps(value, ensure_ascii=False, default=str, indent=indent)
    return _UNSAFE_IN_JSON.sub(escaped, text)


def redacted(fields: Mapping[str, object]) -> dict[str, object]:
    """Return fields with every text in them cut to size and without secrets."""
    return {
        key: _HIDDEN if key.lower() in _SECRET_KEYS else _each_text(value, _cut_and_redacted(key))
        for key, value in fields.items()
    }


def redact_event(_logger: object, _method: str, event: EventDict) -> EventDict:
    """Cut every text of an event and hide the secrets in it."""
    return redacted(event)


def escape_event(_logger: object, _method: str, event: EventDict) -> EventDict:
    """Keep every value of an event on one line, and a traceback on lines of its own."""
    return {
        key: _indented(value)
        if key == "exception" and isinstance(value, str)
        else _each_text(value, one_line)
        for key, value in event.items()
    }


def escaped(match: re.Match[str]) -> str:
    """Return a character as JSON escapes it."""
    return json.dumps(match.group())[1:-1] if match.group() != "\x7f" else "\\u007f"


def _cut_and_redacted(key: str) -> Callable[[str], str]:
    limit = LONGEST_TRACEBACK if key == "exception" else LONGEST_TEXT
    return lambda text: redact(bounded(text, limit))


def _indented(traceback: str) -> str:
    """Keep a traceback's lines, none of which can pass for an event's."""
    return "\n".join(f"    {one_line(line)}" for line in traceback.split("\n"))


def _without_logins(text: str) -> str:
    """Hide what follows the user in ``scheme://user:...@``, up to the last @ of the word.

    A password with a blank in it reaches to the next word that has an @.
    """
    words = _BLANKS.split(text)
    last = max((place for place, word in enumerate(words) if "@" in word), default=-1)
    within = False  # a password that began in an earlier word
    for place, word in enumerate(words):
        if within and place <= last:
            within = "@" not in word
            words[place] = "" if within else word[word.rfind("@") :]
        elif "://" in word:
            words[place], within = _without_login(word)
    return "".join(words)


def _without_login(word: str) -> tuple[str, bool]:
    """Return a word without the password in it, and whether that may go on behind the word."""
    at, start = word.rfind("@"), word.find("://")
    while start >= 0:
        address = _ADDRESS.match(word, start + len("://"))
        found = _LOGIN_END.search(word, address.end() if address else start + len("://"))
        if found is not None and found.group() == ":":
            end = found.end()
            if at > end:
                return f"{word[:end]}{_HIDDEN}{word[at:]}", False
            is_path = "/" in word[start + len("://") : end]
            if at < 0 and end < len(word) and not is_path and not _PORT.match(word, end):
                return f"{word[:end]}{_HIDDEN}", True
        start = word.find("://", start + len("://"))
    return word, False


def _each_text(value: object, change: Callable[[str], str]) -> object:
    if isinstance(value, str):
        return change(value)
    if isinstance(value, dict):
        return {change(str(key)): _each_text(item, change) for key, item in value.items()}
    if isinstance(value, list):
        return [_each_text(item, change) for item in value[:MOST_ITEMS]]
    return value
