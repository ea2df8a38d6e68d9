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


#: Verbs, as far as they are tested without OpenCV, that read no image.
NEED_NO_IMAGES = ("devices here", "inspect student")


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


def test_no_verb_at_all_is_a_usage_error_whose_help_is_not_on_stdout(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main([]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert "usage: edgestill VERB" in err


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
        (["run", "student", "--source", "x.png"], "cv2", "opencv"),
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
        (hint,) = [line for line in done.stderr.splitlines() if line.startswith("  hint: ")]
        assert hint.split("; ")[0] == f"  hint: {pip_command(extra)}"


@pytest.fixture(scope="module")
def without_opencv(tmp_path_factory: pytest.TempPathFactory) -> list[tuple[str, int, str]]:
    """Each verb, its exit code and its stderr, in an interpreter that has no OpenCV."""
    folder = tmp_path_factory.mktemp("without-opencv")
    (folder / "data.yaml").write_text("train: .\nval: .\nnames: [red]\n")
    model, data = ["student"], ["data.yaml"]
    commands = [
        ["devices", "here"],
        ["inspect", *model],
        ["run", *model, "--source", "x.png"],
        ["eval", *model, "--data", *data],
        ["bench", *model, "--duration-s", "0.1"],
        ["verify", *model, *model, "--data", *data],
        ["export", *model, "--to", "onnx", "--precision", "int8", "--calib", *data],
        ["data", "synth", "--out", "scenes", "--images", "1"],
        ["data", "check", *data],
        ["demo", "--out", "demo"],
    ]
    code = f"""
import contextlib, io, json, sys
sys.modules["cv2"] = None  # importing it raises ModuleNotFoundError
from edgestill.cli.main import main
found = []
for words in {commands!r}:
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()) as said:
        found.append((" ".join(words[:2]), main(words), said.getvalue()))
print(json.dumps(found))
"""
    environment = {**os.environ, "XDG_CACHE_HOME": str(folder)}
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=folder, env=environment
    )
    return [(name, status, said) for name, status, said in json.loads(done.stdout)]


def test_without_opencv_every_verb_that_reads_images_says_in_two_lines_how_to_get_it(
    without_opencv: list[tuple[str, int, str]],
) -> None:
    needing = [(status, said) for name, status, said in without_opencv if name not in NEED_NO_IMAGES]
    assert len(needing) == len(without_opencv) - len(NEED_NO_IMAGES)
    for status, said in needing:
        what, hint = said.splitlines()[-2:]
        assert (status, "needs 'cv2', which is not installed" in what) == (5, True), said
        assert "opencv" in hint
        assert "sudo apt install python3-opencv" in hint


def test_without_opencv_the_other_verbs_work(without_opencv: list[tuple[str, int, str]]) -> None:
    assert {name: status for name, status, _ in without_opencv if name in NEED_NO_IMAGES} == dict.fromkeys(
        NEED_NO_IMAGES, 0
    )


def test_the_version_is_the_package_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--version"]) == 0
    assert capsys.readouterr().out.strip() == __version__


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full")
def test_a_result_that_does_not_fit_on_the_disk_is_two_lines() -> None:
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "edgestill", "devices"],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
    assert done.returncode == 2
    assert two_lines(done.stderr)
    assert "No space left on device" in done.stderr


@pytest.mark.parametrize(
    ("words", "wanted"),
    [
        ("data synt", "did you mean 'synth'?"),
        ("export student --to onx --precision fp32", "did you mean 'onnx'?"),
        ("export student --to onnx --precision INT8", "did you mean 'int8'?"),
        ("export student --to onnx --precision int8 --calib-method minmse", "did you mean 'mse'?"),
        ("devices Jetson-Orin-Nan", "did you mean 'jetson-orin-nano'?"),
        ("distill traffic-light", "did you mean 'traffic-lights'?"),
        ("distill demo --set epoch=3", "did you mean 'epochs'?"),
        ("study stret", "did you mean 'street'?"),
        ("run studnet --source 0", "did you mean 'student'?"),
        ("evl student", "did you mean 'eval'?"),
        ("bench Teacher", "did you mean 'teacher'?"),
        ("inspect studdent", "did you mean 'student'?"),
        ("export studnet --to onnx --precision fp32", "did you mean 'student'?"),
    ],
)
def test_every_misspelt_name_gets_a_suggestion(
    words: str, wanted: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(words.split()) in {2, 4}
    out, err = capsys.readouterr()
    assert out == ""
    assert err.endswith(f"\n  hint: {wanted}\n")


def test_a_model_that_is_not_there_is_looked_for_beside_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "light-int8.onnx").write_text("")
    assert main(["run", str(tmp_path / "ligth-int8.onnx"), "--source", "0"]) == 4
    assert f"did you mean '{tmp_path / 'light-int8.onnx'}'?" in capsys.readouterr().err


# --- quiet and verbose


def test_quiet_leaves_errors_only(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["data", "synth", "--out", str(tmp_path / "a"), "--images", "3", "--quiet"]
    assert main(words) == 0
    assert capsys.readouterr().err == ""
    assert main(words) == 2
    assert two_lines(capsys.readouterr().err)


def test_without_quiet_progress_is_on_stderr(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["data", "synth", "--out", str(tmp_path / "a"), "--images", "3"]) == 0
    assert "3/3" in capsys.readouterr().err


def test_verbose_shows_the_cause_of_an_error(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "x.onnx").write_text("hello")
    words = ["run", str(tmp_path / "x.onnx"), "--source", "0"]
    assert main(words) == 4
    assert two_lines(capsys.readouterr().err)
    assert main([*words, "--verbose"]) == 4
    err = capsys.readouterr().err
    assert "Traceback" in err
    assert two_lines(err[err.index("edgestill run: ") :])


def test_quiet_and_verbose_contradict_each_other(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["devices", "--quiet", "--verbose"]) == 2
    assert "contradict" in capsys.readouterr().err


# --- names from outside


@pytest.mark.parametrize("encoding", ["ascii", "iso-8859-1"])
def test_a_terminal_that_is_not_utf8_gets_escapes(encoding: str, tmp_path: Path) -> None:
    source = (
        "import sys\n"
        "from edgestill.cli import main\n"
        "main.main = lambda: print('红 \\udcff') or 0\n"
        "main.run()\n"
    )
    environment = {**os.environ, "PYTHONIOENCODING": encoding}
    done = subprocess.run([sys.executable, "-c", source], env=environment, capture_output=True, check=False)
    assert (done.returncode, done.stderr) == (0, b"")
    assert done.stdout.split() == [b"\\u7ea2", b"\\udcff"]


@pytest.mark.parametrize("name", ["[red]", "[/]", ":car: lamp", "红灯"])
def test_a_table_shows_names_as_they_are(
    name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from edgestill.cli.verbs import compare

    def show(result: object) -> object:
        from rich.table import Table

        table = Table(name, title=f"model {name}")
        table.add_row(f"row {name}")
        return table

    monkeypatch.setattr(compare, "run", lambda args: {"a": 1})
    monkeypatch.setattr(compare, "show", show, raising=False)
    monkeypatch.setattr(compare, "verdict", lambda result: None, raising=False)
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True, raising=False)
    monkeypatch.setenv("COLUMNS", "80")
    assert main(["compare", "a.json", "b.json"]) == 0
    assert capsys.readouterr().out.count(name) == 3


def test_no_verb_escapes_markup_that_the_table_does_not_read() -> None:
    """``rich.markup.escape`` would show a backslash, because tables are printed without markup."""
    folder = Path(VERBS.load("run").__file__ or "").parent.parent
    assert [str(p) for p in folder.rglob("*.py") if "rich.markup" in p.read_text("utf-8")] == []
