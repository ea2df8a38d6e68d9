"""Arguments written as a command parse to themselves: of every verb, whatever options it has or gets."""

from __future__ import annotations

import argparse
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgestill.cli.command_line import command_line
from edgestill.cli.main import VERBS, verb_parser

# The word `--` alone is left out: argparse before Python 3.12 removes it from an option's value.
TEXTS = st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1, max_size=8).filter(
    lambda text: text != "--"
)


def chains(parser: argparse.ArgumentParser) -> Iterator[tuple[tuple[str, ...], list[argparse.Action]]]:
    """The words up to each sub-verb (none for a verb without any), with the actions on the way to it."""
    own = [action for action in parser._actions if not isinstance(action, argparse._HelpAction)]
    below = [action for action in own if isinstance(action, argparse._SubParsersAction)]
    if not below:
        yield (), own
    # What stands before the name of a sub-verb, as the host of `remote`, is any text.
    before = ["host" for action in own if not action.option_strings and action not in below]
    for action in below:
        for name, sub_parser in action.choices.items():
            for words, actions in chains(sub_parser):
                yield (*before, name, *words), actions


COMMANDS = [(verb, *chain) for verb in VERBS.names() for chain in chains(verb_parser(verb))]
IDS = [" ".join((verb, *sub_verbs)) for verb, sub_verbs, _ in COMMANDS]


def values(action: argparse.Action) -> st.SearchStrategy[str]:
    """Texts that one value of an argument may have."""
    if action.choices is not None:
        return st.sampled_from(sorted(map(str, action.choices)))
    if action.type is int:
        return st.integers(-(10**6), 10**6).map(str)
    if action.type is float:
        return st.floats(allow_nan=False).map(repr)
    assert action.type in {None, str, Path}, f"give {action.dest} a type that str() reverses"
    return TEXTS


def given_words(action: argparse.Action) -> st.SearchStrategy[list[str]]:
    """Words that give one option, or the values of one positional argument."""
    if not action.option_strings:
        count = 1 if action.nargs is None else 3
        least = 0 if action.nargs in {"?", "*"} else 1
        return st.lists(values(action), min_size=least, max_size=1 if action.nargs == "?" else count)
    flag = action.option_strings[-1]
    if action.nargs == 0:
        return st.just([flag])
    if isinstance(action.nargs, int):
        safe = values(action).filter(lambda text: not text.startswith("-"))
        one = st.lists(safe, min_size=action.nargs, max_size=action.nargs).map(lambda texts: [flag, *texts])
    else:
        one = values(action).map(lambda text: [f"{flag}={text}"])
    if action.nargs == "?":
        one |= st.just([flag])
    if action.nargs == "+":
        safe = values(action).filter(lambda text: not text.startswith("-"))
        one |= st.lists(safe, min_size=1, max_size=3).map(lambda texts: [flag, *texts])
    if isinstance(action, argparse._AppendAction):
        return st.lists(one, min_size=1, max_size=3).map(lambda several: [w for ws in several for w in ws])
    return one


@st.composite
def command_words(draw: st.DrawFn, sub_verbs: tuple[str, ...], actions: list[argparse.Action]) -> list[str]:
    options: list[list[str]] = []
    positionals: list[str] = []
    for action in actions:
        if not action.option_strings:
            positionals += draw(given_words(action))
        elif action.required or draw(st.booleans()):
            options.append(draw(given_words(action)))
    shuffled = [word for words in draw(st.permutations(options)) for word in words]
    return [*sub_verbs, *shuffled, "--", *positionals] if positionals else [*sub_verbs, *shuffled]


@pytest.mark.parametrize(("verb", "sub_verbs", "actions"), COMMANDS, ids=IDS)
@settings(max_examples=12, deadline=None)
@given(data=st.data())
def test_what_a_verb_parses_is_parsed_again_from_its_command(
    verb: str, sub_verbs: tuple[str, ...], actions: list[argparse.Action], data: st.DataObject
) -> None:
    parser = verb_parser(verb)
    args = parser.parse_args(data.draw(command_words(sub_verbs, actions)))
    program, name, *words = shlex.split(command_line(parser, args))
    assert (program, name) == ("edgestill", verb)
    assert parser.parse_args(words) == args


@pytest.mark.parametrize(("verb", "sub_verbs", "actions"), COMMANDS, ids=IDS)
def test_each_option_of_a_verb_is_repeated_on_its_own(
    verb: str, sub_verbs: tuple[str, ...], actions: list[argparse.Action]
) -> None:
    parser = verb_parser(verb)
    needed = [w for a in actions if a.required and a.option_strings for w in example(a)]
    named = [w for a in actions if not a.option_strings and a.nargs not in {"?", "*"} for w in example(a)]
    for action in actions:
        if action.choices is not None and set(action.choices) <= {action.default}:
            continue  # its default is its only value
        words = example(action)
        if not action.option_strings or words[0] in needed:
            continue
        args = parser.parse_args([*sub_verbs, *named, *needed, *words])
        command = command_line(parser, args)
        assert words[0] in shlex.split(command), f"{words} is not in: {command}"
        without = shlex.split(command_line(parser, args, leave_out={action.dest}))
        assert words[0] not in without


def example(action: argparse.Action) -> list[str]:
    """Words that give an argument a value other than its default."""
    text = "7"
    if action.choices is not None:
        text = next(str(choice) for choice in action.choices if choice != action.default)
    flag = [action.option_strings[-1]] if action.option_strings else []
    if isinstance(action.nargs, int):
        return [*flag, *[text] * action.nargs]
    return [*flag, text]


class Case(argparse.ArgumentParser):
    """One option of each kind that a verb may use."""

    def __init__(self) -> None:
        super().__init__(prog="edgestill try")
        self.add_argument("first")
        self.add_argument("rest", nargs="*", type=int)
        self.add_argument("--on", action="store_true")
        self.add_argument("--no-warmup", action="store_false", dest="warmup")
        self.add_argument("--fast", action="store_const", const="fast", default="even", dest="pace")
        self.add_argument("--slow", action="store_const", const="slow", dest="pace")
        self.add_argument("--colour", action=argparse.BooleanOptionalAction, default=True)
        self.add_argument("--tag", action="append", default=["a"])
        self.add_argument("--pair", nargs=2, type=float, action="append")
        self.add_argument("--from", nargs="+", action="extend")
        self.add_argument("--free", nargs="?", const=0, default=None, type=int)
        self.add_argument("-k", "--kind", choices=["x", "y"], default="x")
        self.add_argument("--ratio", type=float, default="0.5")


@pytest.mark.parametrize(
    ("words", "command"),
    [
        ("a", "a"),
        ("--on a 1 -2", "a 1 -2 --on"),
        ("a --slow --no-warmup", "a --no-warmup --slow"),
        ("a --fast", "a --fast"),
        ("a --no-colour", "a --no-colour"),
        ("a --tag b --tag=-c", "a --tag b --tag=-c"),
        ("a --pair 1 -2.5 --pair 0.1 3", "a --pair 1 -2.5 --pair 0.1 3"),
        ("a --from b c --from=-d", "a --from b --from c --from=-d"),
        ("a --free", "a --free"),
        ("a --free 3", "a --free 3"),
        ("a -k y", "a --kind y"),
        ("a --ratio 0.5", "a"),
        ("a --ratio 0.1234567", "a --ratio 0.1234567"),
        ("'a b' --tag '$c'", "'a b' --tag '$c'"),
        ("--on -- -a", "--on -- -a"),
    ],
)
def test_each_kind_of_option_is_written_as_a_user_types_it(words: str, command: str) -> None:
    parser = Case()
    args = parser.parse_args(shlex.split(words))
    assert command_line(parser, args) == f"edgestill try {command}"
    assert parser.parse_args(shlex.split(command)) == args


def test_an_option_that_cannot_be_repeated_is_a_bug_and_not_a_wrong_command() -> None:
    parser = argparse.ArgumentParser(prog="edgestill try")
    parser.add_argument("-v", action="count", default=0)
    with pytest.raises(TypeError, match="its action is not supported"):
        command_line(parser, parser.parse_args(["-v"]))


def test_a_type_that_text_does_not_reverse_is_a_bug_and_not_a_wrong_command() -> None:
    def size(text: str) -> tuple[Any, ...]:
        return tuple(text.split("x"))

    parser = argparse.ArgumentParser(prog="edgestill try")
    parser.add_argument("--size", type=size)
    with pytest.raises(TypeError, match="does not read"):
        command_line(parser, parser.parse_args(["--size", "3x4"]))
