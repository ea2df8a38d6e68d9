"""The comparison finds each kind of difference; ``make check-tensorrt`` runs it on NVIDIA's bindings."""

from __future__ import annotations

import json
from enum import IntEnum
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from tests.standins import access_recorder
from tests.tensorrt_bindings.comparison import (
    Access,
    access_problems,
    relevant,
    standin_problems,
    unreached,
    unused,
)
from tests.tensorrt_bindings.surface import Entry, Parameter, from_json, read_overloads, read_standin, to_json

OVERLOADED = """load(*args, **kwargs)
Overloaded function.

1. load(self: trt.Runtime, data: buffer, *, depth: Dict[str, int] = {'a': 1}) -> trt.Engine

    Words about it (in brackets) -> and an arrow.

2. load(self: trt.Runtime, reader: trt.IStreamReader) -> trt.Engine
"""
DATA = Parameter("data", "buffer", required=True)
COUNT = Parameter("count", "typing.SupportsInt", required=False)
VENDOR = {
    "Runtime": Entry("class"),
    "Runtime.load": Entry("method", overloads=((DATA, COUNT), (Parameter("reader", "trt.Reader", True),))),
    "Runtime.core": Entry("property", type="int", writable=True),
    "Runtime.cores": Entry("property", type="int"),
    "Monitor.step": Entry("method", overloads=((Parameter("phase", "str", True), COUNT),)),
    "Flag.NEW": Entry("member"),
}


def access(name: str, how: str = "read", *arguments: str, **keywords: str) -> Access:
    return Access(
        version="10.3.0",
        name=name,
        how=how,
        arguments=[[kind] for kind in arguments],
        keywords={key: [kind] for key, kind in keywords.items()},
        where="builder.py:7",
    )


def test_overloads_are_read_from_a_docstring() -> None:
    first, second = read_overloads(OVERLOADED)
    assert [(p.name, p.type, p.required) for p in first if p.name != "*"] == [
        ("data", "buffer", True),
        ("depth", "Dict[str, int]", False),
    ]
    assert [p.type for p in second] == ["trt.IStreamReader"]


@pytest.mark.parametrize(
    "used",
    [
        access("Runtime.load", "call", "bytes"),
        access("Runtime.load", "call", "memoryview", "int"),
        access("Runtime.load", "call", "bytes", count="int"),
        access("Runtime.load", "call", "Reader"),
        access("Runtime.core", "write", "int"),
        access("Monitor.step", "override", phase="str", count="int"),
        access("Flag.OLD", "absent"),
    ],
)
def test_a_right_use_is_no_problem(used: Access) -> None:
    assert list(access_problems([used], VENDOR, in_any=frozenset({"Flag.OLD"}))) == []


@pytest.mark.parametrize(
    ("used", "said"),
    [
        (access("Runtime.lode"), "Runtime.lode does not exist"),
        (access("Runtime.load", "call"), r"does not take \(\)"),
        (access("Runtime.load", "call", "str"), r"does not take \(str\)"),
        (access("Runtime.load", "call", "bytes", "int", "int"), "does not take"),
        (access("Runtime.load", "call", "bytes", number="int"), r"does not take \(bytes, number=int\)"),
        (access("Runtime.load", "call", "bytes", data="bytes"), "does not take"),
        (access("Runtime.core", "write", "str"), "is int, not str"),
        (access("Runtime.cores", "write", "int"), "cannot be assigned"),
        (access("Monitor.step", "override", phase="str"), "is overridden with"),
        (access("Flag.NEW", "absent"), "absent in the stand-in and exists"),
        (access("Flag.NOVEL", "absent"), "exists in no version"),
    ],
)
def test_a_wrong_use_is_told_with_its_place(used: Access, said: str) -> None:
    (problem,) = access_problems([used], VENDOR, in_any=frozenset(VENDOR))
    assert problem.startswith("builder.py:7: ")
    with pytest.raises(AssertionError, match=said):
        raise AssertionError(problem)


def test_what_only_another_version_was_tested_with_counts_where_it_exists() -> None:
    own, other, absent = access("Flag.NEW"), access("Runtime.load"), access("Flag.OLD", "absent")
    told = relevant([own, other, absent], "11.4.0", {"Runtime.load": Entry("method")})
    assert told == [other]
    assert relevant([own, absent], "10.3.0.30", {}) == [own, absent]


@pytest.mark.parametrize(
    ("name", "entry", "said"),
    [
        ("Runtime.lode", Entry("property"), "the stand-in has Runtime.lode, which does not exist"),
        ("Runtime.load", Entry("property"), "Runtime.load is a method, in the stand-in a property"),
        ("Runtime.cores", Entry("property", writable=True), "cannot be assigned"),
        ("Runtime.load", Entry("method", overloads=((Parameter("bytes", "", True),),)), "Runtime.load takes"),
        ("Runtime.load", Entry("method", overloads=((),)), "Runtime.load takes"),
    ],
)
def test_a_wrong_standin_is_told(name: str, entry: Entry, said: str) -> None:
    (problem,) = standin_problems({name: entry}, VENDOR, in_any_standin=frozenset())
    assert said in problem


def test_a_standin_may_leave_optional_parameters_out_but_no_name_of_another_version() -> None:
    standin = {"Runtime.load": Entry("method", overloads=((Parameter("data", "", True),),))}
    in_any = frozenset({"Runtime.load", "Flag.NEW", "Flag.OLD"})
    assert list(standin_problems(standin, VENDOR, in_any_standin=in_any)) == [
        "the stand-in lacks Flag.NEW, which exists"
    ]


def test_what_no_code_uses_and_no_test_reaches_is_told(tmp_path: Path) -> None:
    standin = {"Runtime": Entry("class"), "Runtime.core": Entry("property"), "Runtime.load": Entry("method")}
    assert unused([standin], [access("Runtime.load")]) == ["Runtime.core"]
    source = tmp_path / "builder.py"
    source.write_text("x.load()\nx.core = 1\ngetattr(x, 'step', 0)\nx.own\nx.name\n")
    told = sorted(unreached([source], [access("Runtime.load")], frozenset(VENDOR)))
    assert [line.removeprefix(str(source)) for line in told] == [
        ":1: no test reaches .load",  # the record is of another file
        ":2: no test reaches .core",
        ":3: no test reaches .step",
    ]


def test_a_surface_survives_json() -> None:
    assert from_json(json.loads(json.dumps(to_json(VENDOR)))) == VENDOR


class Flag(IntEnum):
    NEW = 1


class Runtime:
    cores = 2

    @property
    def core(self) -> int:
        return 0

    @core.setter
    def core(self, value: int) -> None: ...

    def load(self, data: bytes, flag: Flag = Flag.NEW) -> Runtime:
        del data, flag
        return self


class Monitor:
    def step(self, phase: str, count: int) -> None: ...


def module() -> ModuleType:
    made: Any = ModuleType("tensorrt")
    made.__version__, made.Runtime, made.Flag, made.Monitor = "10.3.0", Runtime, Flag, Monitor
    return made  # type: ignore[no-any-return]


def test_the_surface_of_a_standin_is_read() -> None:
    found = read_standin(module())
    assert found["Flag.NEW"] == Entry("member")
    assert found["Runtime.core"] == Entry("property", writable=True)
    assert [(p.name, p.required) for p in found["Runtime.load"].overloads[0]] == [
        ("data", True),
        ("flag", False),
    ]


def test_what_edgestill_uses_is_recorded(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Code in the name of one of edgestill's modules: a subclass, a call, an assignment, a missing name."""
    monkeypatch.setattr(access_recorder, "ROOT", tmp_path)
    recorder = access_recorder.Recorder(module())
    source = """
class Own(trt.Monitor):
    def step(self, phase, count): ...
runtime = trt.Runtime()
runtime.load(b"", flag=trt.Flag.NEW).core = 3
assert not hasattr(trt.Flag, "OLD") and trt.Flag.NEW == 1 and trt.Flag.NEW in {trt.Flag.NEW}
runtime.load(Own())
"""
    place = tmp_path / "export" / "builder.py"
    trt = access_recorder._Watched(recorder, module(), "")
    exec(compile(source, place, "exec"), {"trt": trt, "__name__": "export.builder"})
    trt.Flag.OTHER_PACKAGES_DO_NOT_COUNT = 1
    told = [json.loads(line) for line in recorder.records]
    shown = {
        (r["name"], r["how"], tuple(kinds[0] for kinds in r["arguments"]), tuple(sorted(r["keywords"])))
        for r in told
    }
    assert shown == {
        ("Monitor", "read", (), ()),
        ("Runtime", "read", (), ()),
        ("Runtime.__init__", "call", (), ()),
        ("Runtime.load", "read", (), ()),
        ("Runtime.load", "call", ("bytes",), ("flag",)),
        ("Runtime.load", "call", ("Own",), ()),
        ("Runtime.core", "write", ("int",), ()),
        ("Flag", "read", (), ()),
        ("Flag.NEW", "read", (), ()),
        ("Flag.OLD", "absent", (), ()),
        ("Monitor.step", "override", (), ("count", "phase")),
    }
    assert {r["where"].partition(":")[0] for r in told} == {"export/builder.py"}
