"""The door: verbs, exit codes, where words go."""

import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from edgestill import __version__
from edgestill.cli.main import VERBS, main, verb_parser
from edgestill.installation import pip_command


def two_lines(text: str) -> bool:
    """Whether an error is what every error must be: the fact, then the hint."""
    return re.fullmatch(r"edgestill \S+: [^\n]+\n  hint: [^\n]+\n", text) is not None


def test_an_unknown_verb_gets_a_suggestion_and_exit_code_two(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["distil"]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err == "edgestill distil: no verb is called 'distil'\n  hint: did you mean 'distill'?\n"


@pytest.mark.parametrize("verb", VERBS.names())
def test_an_unknown_flag_is_a_usage_error_of_every_verb(
    verb: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([verb, "--no-such-flag"]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert two_lines(err), err


@pytest.mark.parametrize("verb", VERBS.names())
def test_every_verb_explains_itself(verb: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        main([verb, "--help"])
    assert stop.value.code == 0
    assert f"usage: edgestill {verb}" in capsys.readouterr().out


@pytest.mark.parametrize("verb", [verb for verb in VERBS.names() if hasattr(VERBS.load(verb), "EXAMPLE")])
def test_the_example_of_a_verb_is_a_command_on_a_line_of_its_own(
    verb: str, capsys: pytest.CaptureFixture[str]
) -> None:
    example = VERBS.load(verb).EXAMPLE
    program, name, *words = shlex.split(example)
    assert (program, name) == ("edgestill", verb)
    assert verb_parser(verb).parse_args(words)
    with pytest.raises(SystemExit):
        main([verb, "--help"])
    assert f"\nexample: {example}\n" in capsys.readouterr().out


def test_the_overview_lists_every_verb(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == 0
    shown = capsys.readouterr().out
    assert [verb for verb in VERBS.names() if f"\n  {verb} " not in shown] == []


def test_no_verb_at_all_is_a_usage_error(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 2
    assert "usage: edgestill VERB" in capsys.readouterr().out


def test_a_misspelt_flag_gets_a_suggestion(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", "x.onnx", "--source", "y.png", "--max-frame", "3"]) == 2
    assert "hint: did you mean --max-frames?" in capsys.readouterr().err


def test_a_misspelt_flag_of_a_sub_verb_gets_a_suggestion(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["data", "synth", "--out", "x", "--images", "3", "--sede", "4"]) == 2
    assert "hint: did you mean --seed?" in capsys.readouterr().err


def test_the_module_is_the_same_as_the_command_and_prints_json_when_piped() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "edgestill", "devices"], capture_output=True, text=True, check=True
    )
    assert json.loads(done.stdout)


@pytest.mark.parametrize(
    ("words", "library", "extra"),
    [
        (["run", "student", "--source", "x.png"], "onnx", "onnx"),
        (["distill", "demo"], "torch", "train"),
        (["export", "student", "--to", "onnx", "--precision", "fp32"], "onnx", "onnx"),
        (["inspect", "student"], "safetensors", "onnx"),
    ],
)
def test_a_library_that_the_base_install_lacks_is_named_with_its_extra(
    words: list[str], library: str, extra: str, tmp_path: Path
) -> None:
    # A fresh interpreter in which the library cannot be found, as in an environment without the extra.
    code = (
        "import sys\n"
        f"class Without:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        f"        if name.partition('.')[0] == {library!r}:\n"
        "            raise ModuleNotFoundError(f'No module named {name!r}', name=name)\n"
        "sys.meta_path.insert(0, Without())\n"
        "from edgestill.cli.main import main\n"
        f"sys.exit(main({words!r}))\n"
    )
    environment = {**os.environ, "XDG_CACHE_HOME": str(tmp_path)}
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path, env=environment)
    assert done.returncode == 5, done.stderr
    assert f"needs '{library}', which is not installed" in done.stderr
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path)  # as the process: the command differs in the source folder
        assert done.stderr.endswith(f"  hint: {pip_command(extra)}\n")


def test_the_version_is_the_package_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--version"]) == 0
    assert capsys.readouterr().out.strip() == __version__
