# PYTHON_ARGCOMPLETE_OK: the mark that argcomplete's global completion looks for
"""The entry point: find the verb, run it, and turn its outcome into stdout, stderr and an exit code.

A verb is one module of ``edgestill.cli.verbs`` with ``SUMMARY`` (one line of help), ``add_arguments(parser)``
and ``run(args) -> object``. Optional are ``EXAMPLE``, a command that the help ends with; ``show(result)``,
which renders the result for rich; and ``verdict(result)``, which raises for a failed check after the result
was printed. The result is printed as JSON when stdout is not a terminal or with ``--json``. A verb that
prints its own lines returns None.
"""

from __future__ import annotations

import argparse
import errno
import io
import logging
import os
import sys
import traceback
import warnings
from collections.abc import Sequence
from itertools import pairwise
from types import ModuleType
from typing import Any, NoReturn

from edgestill import __version__
from edgestill.errors import DeviceError, ToolchainError, UsageError, closest, import_failure
from edgestill.files import to_json_text
from edgestill.registry import Registry
from edgestill.verbosity import is_verbose, set_verbosity

#: Errors of the file system that a user can mend, by another path, permission or disk; any other is a bug.
PATH_ERRORS = frozenset(
    {
        *(errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO),
        *(errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.EEXIST, errno.ENOTEMPTY, errno.EXDEV, errno.EBUSY),
        *(errno.ENAMETOOLONG, errno.ELOOP, errno.EINVAL, errno.ENXIO, errno.ENODEV, errno.ETXTBSY),
        *(errno.ESTALE, errno.ENOTCONN, errno.ETIMEDOUT, errno.EOPNOTSUPP),
    }
)
LARGEST = (1 << 31) - 1  # of a whole number; libraries take no larger ones
VERBS = Registry("edgestill.cli.verbs", "verb")
#: Flags of every verb, which may stand anywhere.
COMMON = {
    "--json": "print JSON even on a terminal",
    "--quiet": "no progress and no notes on stderr; errors stay",
    "--verbose": "messages of the libraries on stderr, and the cause of an error",
}


class _Parser(argparse.ArgumentParser):
    """An ArgumentParser that raises UsageError, so that its errors have the two-line form of all errors.

    Attributes:
        words: What it is about to parse, for the hint of an error.
    """

    words: Sequence[str] = ()

    def error(self, message: str) -> NoReturn:
        hint = f"{self.prog} --help"
        flags = [flag for a in self._actions if a.nargs == argparse.OPTIONAL for flag in a.option_strings]
        given = [a for a, b in pairwise(self.words) if a in flags and not b.startswith("-")]
        if given and "are required" in message:
            hint = f"the word behind {given[0]} was taken as its value: put {given[0]} last"
        raise UsageError(message, hint=hint)

    def _check_value(self, action: argparse.Action, value: Any) -> None:
        """Name the choice that is like a wrong one, and all of them only where none is."""
        if action.choices is not None and value not in action.choices:
            known = [str(choice) for choice in action.choices]
            close = closest(str(value), known)
            name = "/".join(action.option_strings) or action.metavar or action.dest
            raise UsageError(
                f"argument {name}: invalid choice: {str(value)!r}",
                hint=f"did you mean {close!r}?" if close else f"choose from {', '.join(known)}",
            )


class _Formatter(argparse.HelpFormatter):
    """Help whose example is one line, so that it can be copied."""

    def _fill_text(self, text: str, width: int, indent: str) -> str:
        return text if text.startswith("example: ") else super()._fill_text(text, width, indent)


def run() -> NoReturn:
    """Entry point of the ``edgestill`` command."""
    for stream in (sys.stdout, sys.stderr):
        # A terminal that is not UTF-8 gets escapes for the class names that it cannot show.
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    if "_ARGCOMPLETE" in os.environ:  # a shell asks for completions
        from edgestill.cli.completion import complete  # noqa: PLC0415

        complete(_parser_of_verbs(os.environ.get("COMP_LINE", "")))
    sys.exit(main())


def main(argv: Sequence[str] | None = None) -> int:
    """Run one verb.

    Returns:
        The exit code: 0 success, 2 usage, 3 data, 4 model file, 5 device or a library that is not installed,
        6 verification failed, 130 interrupted.

    Raises:
        Exception: Any other error is a bug; the interpreter prints its traceback and exits with 1.
    """
    words = list(sys.argv[1:] if argv is None else argv)
    if not words:  # a mistake, and stdout is for results
        print(_overview(), file=sys.stderr)
        return UsageError.exit_code
    if words[0] in {"-h", "--help"}:
        print(_overview())
        return 0
    if words[0] in {"-V", "--version"}:
        print(__version__)
        return 0
    return _run_and_print(words)


def _run_and_print(words: list[str]) -> int:
    """Run one verb and print its result, or the ToolchainError that it raised."""
    verb = words[0]
    try:
        _set_verbosity(words)
        module, args, result = _run(words)
        if result is not None:
            _show(module, result, as_json=args.json)
        sys.stdout.flush()
        if hasattr(module, "verdict"):
            module.verdict(result)
    except ToolchainError as error:
        return _print_error(verb, error)
    except KeyboardInterrupt as error:
        again = "continue distill with --resume; repeat a study, data convert or remote to continue it"
        hint = error.args[0] if error.args else again
        print(f"edgestill {verb}: interrupted\n  hint: {hint}", file=sys.stderr)
        return 130
    except BrokenPipeError:
        _drop_stdout()  # the reader closed the pipe (`| head`)
    except (ImportError, MemoryError, OSError) as error:
        known = _known(error)
        if known is None:
            raise
        if isinstance(error, OSError) and error.filename is None:
            _drop_stdout()  # a write, not an open: most often the result itself, as `> /full/disk`
        return _print_error(verb, known)
    return 0


def _known(error: ImportError | MemoryError | OSError) -> ToolchainError | None:
    """The error that a user can mend, of one that Python raised; None for a bug."""
    if isinstance(error, MemoryError):
        what = f"this machine has too little memory for that: {str(error) or 'an allocation failed'}"
        return DeviceError(what, hint="a smaller input, batch or number of images needs less")
    if isinstance(error, OSError):
        if error.errno not in PATH_ERRORS or not isinstance(error.filename, (str, bytes, type(None))):
            return None
        where = "the output" if error.filename is None else os.fsdecode(error.filename)
        what = f"{where}: {os.strerror(error.errno)}"
        return UsageError(what, hint="check the path, its permissions and the free space")
    return import_failure("this", error)


def _drop_stdout() -> None:
    """Forget what stdout holds back: Python would report the same error again while it closes it."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _set_verbosity(words: Sequence[str]) -> None:
    quiet, verbose = "--quiet" in words, "--verbose" in words
    if quiet and verbose:
        raise UsageError("--quiet and --verbose contradict each other", hint="leave one of them out")
    set_verbosity(quiet=quiet, verbose=verbose)
    if quiet:
        warnings.simplefilter("ignore")
    if verbose:
        logging.basicConfig(level=logging.INFO, format="%(name)s: %(message)s")  # on stderr


def _print_error(verb: str, error: ToolchainError) -> int:
    if is_verbose() and error.__cause__ is not None:
        traceback.print_exception(error.__cause__)
    print(f"edgestill {verb}: {error}", file=sys.stderr)
    return error.exit_code


def call(words: Sequence[str]) -> Any:
    """Run one verb as the command line does, and return its result instead of printing it.

    Raises:
        ToolchainError: The error that the command line would print.
    """
    module, _, result = _run(list(words))
    if hasattr(module, "verdict"):
        module.verdict(result)
    return result


def _run(words: list[str]) -> tuple[ModuleType, argparse.Namespace, Any]:
    module = VERBS.load(words[0])
    args = _parse(words[0], words[1:])
    return module, args, module.run(args)


def verb_parser(verb: str) -> _Parser:
    """The parser of a verb; its mistakes are UsageErrors.

    Raises:
        UsageError: There is no such verb.
    """
    module = VERBS.load(verb)
    example = getattr(module, "EXAMPLE", None)
    parser = _Parser(
        prog=f"edgestill {verb}",
        description=module.SUMMARY,
        epilog=f"example: {example}" if example else None,
        formatter_class=_Formatter,
        allow_abbrev=False,
    )
    _fill(parser, module)
    return parser


def _parser_of_verbs(line: str) -> argparse.ArgumentParser:
    """One parser with a sub-parser for each verb; only a verb of ``line`` is loaded and has its arguments."""
    parser = _Parser(prog="edgestill")
    verbs = parser.add_subparsers()
    for name in VERBS.names():
        below = verbs.add_parser(name)
        if name in line.split():
            _fill(below, VERBS.load(name))
    return parser


def _fill(parser: argparse.ArgumentParser, module: ModuleType) -> None:
    """Declare the arguments of a verb, and those of every verb."""
    module.add_arguments(parser)
    common = parser.add_argument_group("options of every verb")
    for flag, text in COMMON.items():
        common.add_argument(flag, action="store_true", help=text)


def _parse(verb: str, words: list[str]) -> argparse.Namespace:
    parser = verb_parser(verb)
    parser.words = words
    # Removed first, so that they may stand anywhere, also behind a sub-verb, whose parser does not know them.
    args, unknown = parser.parse_known_args([w for w in words if w not in COMMON])
    for flag in COMMON:
        setattr(args, flag.removeprefix("--"), flag in words)
    if unknown:
        raise UsageError(f"unknown argument {unknown[0]!r}", hint=_suggest(parser, unknown[0], verb))
    for name, value in vars(args).items():
        if isinstance(value, int) and abs(value) > LARGEST:
            raise UsageError(f"--{name.replace('_', '-')} is {value}", hint=f"a number up to {LARGEST}")
    return args


def _suggest(parser: argparse.ArgumentParser, word: str, verb: str) -> str:
    flags = [flag for action in _actions(parser) for flag in action.option_strings]
    name = word.partition("=")[0]
    close = closest(name if name.startswith("-") else f"--{name}", flags)
    return f"did you mean {close}?" if close else f"edgestill {verb} --help"


def _actions(parser: argparse.ArgumentParser) -> list[argparse.Action]:
    """The arguments of a verb and of its sub-verbs; argparse has no public list."""
    found = list(parser._actions)
    for action in parser._actions:
        if isinstance(action.choices, dict):  # sub-verbs, by name
            found += [a for sub_verb in action.choices.values() for a in _actions(sub_verb)]
    return found


def _show(module: ModuleType, result: Any, *, as_json: bool) -> None:
    if as_json or not sys.stdout.isatty() or not hasattr(module, "show"):
        print(to_json_text(result))
        return
    from rich.console import Console  # noqa: PLC0415 (for the terminal only)

    # Names come from outside: [red] is no style and :car: is no picture.
    Console(markup=False, emoji=False).print(module.show(result))


def _overview() -> str:
    lines = [
        f"edgestill {__version__}: distil, export, run and benchmark compact object detectors",
        "",
        "usage: edgestill VERB ...",
        "",
    ]
    lines += [f"  {name:<10} {VERBS.load(name).SUMMARY}" for name in VERBS.names()]
    common = ", ".join(COMMON)
    return "\n".join(
        [*lines, "", f"edgestill VERB --help lists the options of a verb; every verb accepts {common}"]
    )
