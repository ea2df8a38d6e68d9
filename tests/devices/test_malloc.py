"""The allocator, in processes of their own: its settings stay."""

import subprocess
import sys

import pytest

_PLACES = """
import ctypes, sys, threading
from devices.malloc import share_one_heap
if sys.argv[1] == "one":
    assert share_one_heap()
malloc = ctypes.CDLL(None).malloc
malloc.restype = ctypes.c_size_t
places, ready = [], threading.Barrier(3)
def take():
    ready.wait()
    places.append(malloc(5000))
threads = [threading.Thread(target=take) for _ in range(3)]
for thread in threads: thread.start()
for thread in threads: thread.join()
heap = next(line for line in open("/proc/self/maps") if line.endswith("[heap]\\n")).split()[0]
low, high = (int(side, 16) for side in heap.split("-"))
print(sum(low <= place < high for place in places))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="needs /proc")
@pytest.mark.parametrize(("heaps", "in_the_first"), [("one", 3), ("own", 0)])
def test_threads_allocate_from_one_heap(heaps: str, in_the_first: int) -> None:
    done = subprocess.run([sys.executable, "-c", _PLACES, heaps], capture_output=True, text=True, check=True)
    assert int(done.stdout) == in_the_first
