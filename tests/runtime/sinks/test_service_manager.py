"""Messages to systemd, received by a real datagram socket."""

import os
import socket
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest

from runtime.pipeline import FrameResult
from runtime.sinks.service_manager import ServiceManager, service_manager


@pytest.fixture(params=["path", "abstract"])
def manager(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[str, socket.socket]]:
    """The value of NOTIFY_SOCKET and the socket behind it."""
    name = f"@edgestill-test-{os.getpid()}" if request.param == "abstract" else str(tmp_path / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening:
        listening.bind(f"\0{name[1:]}" if name.startswith("@") else name)
        listening.setblocking(False)
        yield name, listening


def received(listening: socket.socket) -> list[list[str]]:
    """The lines of each message so far."""
    messages = []
    with suppress(BlockingIOError):
        while True:
            messages.append(listening.recv(4096).decode().split("\n"))
    return messages


@pytest.fixture
def result(make_result: Callable[..., FrameResult]) -> FrameResult:
    return make_result(np.zeros((4, 4, 3), np.uint8))


def test_the_service_is_ready_after_the_first_frame_and_alive_while_frames_come(
    manager: tuple[str, socket.socket], result: FrameResult
) -> None:
    name, listening = manager
    now_s = 100.0
    sink = ServiceManager(name, watchdog_s=8.0, clock=lambda: now_s)
    assert received(listening) == []
    for _ in range(3):
        assert sink.write(result, result.frame.image_bgr)
    assert received(listening) == [["READY=1", "WATCHDOG=1", "STATUS=1 frames"]]
    now_s += 1.9
    sink.write(result, result.frame.image_bgr)
    assert received(listening) == []
    now_s += 0.1
    sink.write(result, result.frame.image_bgr)
    assert received(listening) == [["WATCHDOG=1", "STATUS=5 frames"]]
    now_s += 100  # no frame, no message
    assert received(listening) == []
    assert sink.close(complete=True) == ()
    assert received(listening) == [["STOPPING=1"]]


def test_without_a_watchdog_only_the_state_is_told(
    manager: tuple[str, socket.socket], result: FrameResult
) -> None:
    sink = service_manager({"NOTIFY_SOCKET": manager[0]})
    assert sink is not None
    sink.write(result, result.frame.image_bgr)
    sink.close(complete=True)
    assert received(manager[1]) == [["READY=1", "STATUS=1 frames"], ["STOPPING=1"]]


@pytest.mark.parametrize(
    ("variables", "watches"),
    [
        ({"WATCHDOG_USEC": "5000000"}, True),
        ({"WATCHDOG_USEC": "5000000", "WATCHDOG_PID": str(os.getpid())}, True),
        ({"WATCHDOG_USEC": "5000000", "WATCHDOG_PID": "1"}, False),
        ({"WATCHDOG_USEC": "soon"}, False),
        ({"WATCHDOG_USEC": "0"}, False),
    ],
)
def test_the_watchdog_is_that_of_the_environment(
    manager: tuple[str, socket.socket], result: FrameResult, variables: dict[str, str], watches: bool
) -> None:
    sink = service_manager({"NOTIFY_SOCKET": manager[0], **variables})
    assert sink is not None
    sink.write(result, result.frame.image_bgr)
    assert ("WATCHDOG=1" in received(manager[1])[0]) is watches


@pytest.mark.parametrize("address", ["", "vsock:2:1234"])
def test_without_a_socket_of_systemd_there_is_nothing_to_tell(address: str) -> None:
    assert service_manager({"NOTIFY_SOCKET": address, "WATCHDOG_USEC": "1000"}) is None
    assert service_manager({}) is None


def test_a_manager_that_is_gone_does_not_end_the_run(result: FrameResult, tmp_path: Path) -> None:
    sink = ServiceManager(str(tmp_path / "gone"), watchdog_s=1.0)
    assert sink.write(result, result.frame.image_bgr)
    sink.close(complete=True)


def test_a_manager_that_does_not_read_does_not_hold_the_run_up(
    manager: tuple[str, socket.socket], result: FrameResult
) -> None:
    now_s = 0.0
    sink = ServiceManager(manager[0], watchdog_s=1.0, clock=lambda: now_s)
    for _ in range(2000):  # more than the socket holds
        now_s += 1
        assert sink.write(result, result.frame.image_bgr)
    assert 0 < len(received(manager[1])) < 2000
