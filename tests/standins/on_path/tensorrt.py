"""``import tensorrt`` in a process that a test starts: the stand-in that STANDIN names, or one that breaks.

STANDIN is JSON: ``version`` and the options of ``tensorrt_surface.make``, ``cuda``: the options of
``cuda_surface.CudaLibrary``, and ``breaks``: how building ends.
"""

import ctypes
import json
import os
import sys
from pathlib import Path

sys.path.append(str(Path(__file__).parent.parent))

import access_recorder
import cuda_surface
import tensorrt_surface

_wanted = json.loads(os.environ["STANDIN"])
_breaks = _wanted.pop("breaks", None)
_cuda = cuda_surface.CudaLibrary(**_wanted.pop("cuda", {}))
_others = ctypes.CDLL
ctypes.CDLL = lambda name, *rest, **more: _cuda if name == "libcuda.so.1" else _others(name, *rest, **more)
_made = tensorrt_surface.make(_wanted.pop("version"), cuda=_cuda, **_wanted)


def _abort(*_: object) -> None:
    print("terminate called after throwing an instance of 'std::bad_alloc'", file=sys.stderr, flush=True)
    os.abort()


def _eat(*_: object) -> None:
    held = [bytearray(64 << 20) for _ in range(200)]
    raise AssertionError(f"took {len(held)} blocks of 64 MiB")


def _chatter(*_: object) -> None:
    print("a line that TensorRT prints by itself", flush=True)
    os.write(1, b"and one from below Python\n")


if _breaks == "abort":
    _made.Builder.build_serialized_network = _abort
elif _breaks == "memory":
    _made.Builder.build_serialized_network = _eat
elif _breaks == "chatter":
    _build = _made.Builder.build_serialized_network
    _made.Builder.build_serialized_network = lambda *args: (_chatter(), _build(*args))[1]
sys.modules[__name__] = access_recorder.watched(_made)
