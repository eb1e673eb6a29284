"""The five workloads in Python, run as a script in a process of its own: ``in_cpython.py WORKLOAD PARAMETER...``.

Prints the seconds of processor time that the work took, and its result. Imports nothing of Iridium.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable


def count(n: int) -> tuple[int, ...]:
    """Count to n."""
    i = 0
    while i != n:
        i += 1
    return (i,)


def lcg(outer: int, inner: int) -> tuple[int, ...]:
    """The sum of a linear congruential generator, as an i32."""
    x = 42
    total = 0
    for _ in range(outer):
        for _ in range(inner):
            x = (x * 69069 + 12345) & 0xFFFFFFFF
            total = (((total ^ (x >> 16 & 0x7FFF)) << 1) + x) & 0xFFFFFFFF
    return (total - (total >> 31 << 32),)


def _fib(n: int) -> int:
    if n < 2:
        return n
    return _fib(n - 1) + _fib(n - 2)


def fib(n: int) -> tuple[int, ...]:
    """A Fibonacci number by its definition."""
    return (_fib(n),)


def mandelbrot(width: int, height: int, limit: int) -> tuple[int, ...]:
    """The repetitions that all points of a grid take."""
    across = 3.0 / width
    down = 3.0 / height
    total = 0
    ci = -1.5
    for _ in range(height):
        cr = -2.0
        for _ in range(width):
            zr = zi = 0.0
            steps = 0
            while steps != limit:
                rr = zr * zr
                ii = zi * zi
                if rr + ii > 4.0:
                    break
                zi = zr * zi
                zi = zi + zi + ci
                zr = rr - ii + cr
                steps += 1
            total += steps
            cr += across
        ci += down
    return (total,)


def sieve(n: int, rounds: int) -> tuple[int, ...]:
    """The primes below n, and the marks of all rounds."""
    cells = [0] * n
    primes = marks = 0
    for _ in range(rounds):
        for i in range(n):
            cells[i] = 0
        i = 2
        while i * i < n:
            if not cells[i]:
                for j in range(i * i, n, i):
                    cells[j] = 1
                    marks += 1
            i += 1
        primes = 0
        for i in range(2, n):
            if not cells[i]:
                primes += 1
    return primes, marks


BODIES: dict[str, Callable[..., tuple[int, ...]]] = {
    "count": count,
    "lcg": lcg,
    "fib": fib,
    "mandelbrot": mandelbrot,
    "sieve": sieve,
}
"""By the names of the workloads."""


def main() -> None:
    """Do what the command line says."""
    work = BODIES[sys.argv[1]]
    parameters = [int(word) for word in sys.argv[2:]]
    start = time.thread_time()
    result = work(*parameters)
    took = time.thread_time() - start
    print(f"{took:.9f}", *result)


if __name__ == "__main__":
    main()
