"""Parsed arguments written as a command again, so that a result can name the command that repeats it."""

from __future__ import annotations

import argparse
import re
import shlex
from collections.abc import Collection, Sequence
from typing import Any

_NEGATIVE_NUMBER = re.compile(
    r"-\d+|-\d*\.\d+"
)  # argparse takes these, and no other word with a dash, as values


def command_line(
    parser: argparse.ArgumentParser, args: argparse.Namespace, *, leave_out: Collection[str] = ()
) -> str:
    """The shell-quoted command that ``parser`` parses to ``args``.

    Positional arguments come first, then the options in the order of their declaration. An option that has
    its default value is left out.

    Args:
        parser: The parser of a verb, or of a sub-verb; the command begins with its ``prog``.
        args: What it parsed.
        leave_out: Names of arguments that the command must not repeat, e.g. where the result was written.

    Raises:
        TypeError: An argument has an action that this function does not know, or a value that its ``type``
            does not read back from text.
    """
    return " ".join([parser.prog, shlex.join(words_of(parser, args, leave_out=leave_out))]).rstrip()


def words_of(
    parser: argparse.ArgumentParser, args: argparse.Namespace, *, leave_out: Collection[str] = ()
) -> list[str]:
    """The words behind ``prog`` of ``command_line``, which see."""
    positionals: list[str] = []
    options: list[str] = []
    sub_verb: list[str] = []
    by_dest: dict[str, list[argparse.Action]] = {}
    for action in parser._actions:  # argparse has no public list
        if action.dest != argparse.SUPPRESS and action.dest not in leave_out:
            by_dest.setdefault(action.dest, []).append(action)
    for dest, actions in by_dest.items():
        first = actions[0]
        value: Any = getattr(args, dest, None)
        if isinstance(first, argparse._HelpAction):
            continue
        if isinstance(first, argparse._SubParsersAction):
            sub_verb = [value, *words_of(first.choices[value], args, leave_out=leave_out)]
        elif value == _default(first) and not (first.required and first.option_strings):
            continue
        elif first.option_strings:
            options += _option(actions, value)
        else:
            positionals += _texts(first, value)
    if any(map(_looks_like_flag, positionals)):
        return [*options, "--", *positionals, *sub_verb]
    return [*positionals, *options, *sub_verb]


def _default(action: argparse.Action) -> Any:
    """The value of an argument that is not given: argparse passes a default of text through ``type``."""
    if isinstance(action.default, str) and callable(action.type):
        return action.type(action.default)
    return action.default


def _option(actions: Sequence[argparse.Action], value: Any) -> list[str]:
    """The words of the first of the actions, which write one attribute, that can set it to ``value``."""
    for action in actions:
        if isinstance(action, argparse.BooleanOptionalAction):
            return [next(f for f in action.option_strings if f.startswith("--no-") != bool(value))]
        if isinstance(action, argparse._StoreConstAction):  # store_true and store_false are of this class
            if value == action.const:
                return [_flag(action)]
        elif isinstance(action, argparse._AppendAction):
            given = value[len(action.default or ()) :]
            is_extended = isinstance(action, argparse._ExtendAction)  # by several words at once
            items = [[item] for item in given] if is_extended else given
            return [word for item in items for word in _flag_and_texts(action, item)]
        elif isinstance(action, argparse._StoreAction):
            return _flag_and_texts(action, value)
    raise TypeError(f"no option sets {actions[0].dest!r} to {value!r}, or its action is not supported")


def _flag(action: argparse.Action) -> str:
    return next((flag for flag in action.option_strings if flag.startswith("--")), action.option_strings[0])


def _flag_and_texts(action: argparse.Action, value: Any) -> list[str]:
    if action.nargs == argparse.OPTIONAL and value == action.const and not isinstance(value, str):
        return [_flag(action)]
    texts = _texts(action, value)
    if not any(map(_looks_like_flag, texts)):
        return [_flag(action), *texts]
    if len(texts) == 1:
        return [f"{_flag(action)}={texts[0]}"]
    raise TypeError(f"{_flag(action)} takes several words, and one of {texts} looks like a flag")


def _texts(action: argparse.Action, value: Any) -> list[str]:
    is_one = action.nargs in {None, argparse.OPTIONAL}
    return [_text(action, item) for item in ([value] if is_one else value)]


def _text(action: argparse.Action, value: Any) -> str:
    """One value as a user would type it."""
    text = f"{value:g}" if isinstance(value, float) and float(f"{value:g}") == value else str(value)
    read: Any = action.type if callable(action.type) else str
    if read(text) != value:
        raise TypeError(f"the type of {action.dest!r} does not read {value!r} back from {text!r}")
    return text


def _looks_like_flag(text: str) -> bool:
    return len(text) > 1 and text.startswith("-") and not _NEGATIVE_NUMBER.fullmatch(text)
