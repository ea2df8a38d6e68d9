"""Addresses of cameras without what must not be shown or logged."""

from __future__ import annotations

import re

#: Names of parameters whose values are secret, up to what ends the value.
_SECRET = re.compile(
    r"((?:pass\w*|pwd|user-pw|pw|token|secret|auth\w*|api[_-]?key|key)=)[^&#/\s]+", re.IGNORECASE
)
_USER = re.compile(r"(//)([^\s\"']*)@")


def without_secrets(text: str) -> str:
    """A URL, or a text with URLs, without user names, passwords and tokens."""
    return _SECRET.sub(r"\1***", _USER.sub(_without_user, text))


def _without_user(match: re.Match[str]) -> str:
    """What is left of ``//...@``: an @ may also be a part of the path or query of an address without user."""
    authority = match[2].partition("/")[0]
    is_host = "@" not in match[2] and re.fullmatch(r"(?:[^:?]*|\[[0-9a-fA-F:.]+\])(?::\d+)?", authority)
    return match[0] if is_host and "/" in match[2] else match[1]
