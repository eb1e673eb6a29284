"""How fast programs run: five workloads on every engine and on other languages, in one run.

``workload`` has the programs and sizes, ``ours`` and ``peers`` the systems that run them, ``measure`` lets these
take turns, ``results`` is what comes out, ``table`` and ``chart`` show it. ``generated`` is a large program and
``many`` are many machines at once; ``run`` does all of it. ``in_cpython`` and ``in_wasmtime`` are scripts for
processes of their own, as is what stands in ``peer_programs/``. The command line is in :mod:`iridium.cli.bench`.
"""
