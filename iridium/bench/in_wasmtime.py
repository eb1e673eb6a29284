"""The five workloads in WebAssembly, run by wasmtime: ``in_wasmtime.py WORKLOAD PARAMETER...``.

A script for a process of its own. Prints the seconds of processor time that the work took, and its result;
compiling is not counted. Imports nothing of Iridium.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Any


def main() -> None:
    """Do what the command line says."""
    import wasmtime

    any_wasmtime: Any = wasmtime  # its types are told loosely, and it may not be installed where types are checked
    engine = any_wasmtime.Engine()
    store = any_wasmtime.Store(engine)
    text = (Path(__file__).parent / "peer_programs" / "bodies.wat").read_text(encoding="utf-8")
    exports = any_wasmtime.Instance(store, any_wasmtime.Module(engine, text), []).exports(store)
    name, *words = sys.argv[1:]
    work = exports[name]
    parameters = [int(word) for word in words]
    start = time.thread_time()
    result = work(store, *parameters)
    took = time.thread_time() - start
    marks = [exports["marks"].value(store)] if name == "sieve" else []
    print(f"{took:.9f}", result, *marks)


if __name__ == "__main__":
    main()
