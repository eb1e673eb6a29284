"""The native engines: an interpreter and a compiler in machine code, both made from the same lowerings.

``lowering`` says what each instruction does, ``emit`` what that is written with, ``interpreter`` and ``compiler``
put it together, ``runtime`` is what they call, in the subset of Python of ``subset``. ``jit`` is all that knows
llvmlite; importing this package does not import it.
"""
