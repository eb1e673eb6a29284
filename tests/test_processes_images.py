"""Images that a node keeps, and the programs that it has ready: what others send cannot fill its memory."""

from __future__ import annotations

import gc
import hashlib
import weakref

import pytest

from iridium.assembler import assemble
from iridium.image import Image
from iridium.processes import images as module
from iridium.processes.images import MOST_PROGRAMS, Images
from iridium.vm.program import Program


def image(number: int, length: int = 1) -> Image:
    """An image that differs from the others."""
    return assemble(".code\n" + f"load $1 #{number}\n" * length + "hlt\n")


def test_one_program_for_one_image() -> None:
    """Whoever asks for an image gets the program that is there, with all that was made of it."""
    images = Images()
    hash, program = images.add(image(1))
    assert images.add(image(1)) == (hash, program)
    assert images.program(hash) is program
    assert images.receive(hash, image(1).to_bytes()) is program
    assert images.hash_of(program) == hash == hashlib.sha256(image(1).to_bytes()).hexdigest()
    assert images.program("0" * 64) is images.data("0" * 64) is None


def test_programs_that_nobody_runs_go_and_come_again() -> None:
    """Of thousands of small images the node has the last few ready, and makes any of the others again."""
    images = Images()
    first, program = images.add(image(0))
    gone = weakref.ref(program)
    del program
    for number in range(1, MOST_PROGRAMS):
        images.add(image(number))
    assert gone() is not None
    images.add(image(MOST_PROGRAMS))
    gc.collect()
    assert gone() is None
    again = images.program(first)
    assert again is not None
    assert again.code == image(0).code
    assert images.program(first) is again
    assert len(images._ready) == len(images._programs) == len(images._hashes) == MOST_PROGRAMS


def test_a_program_that_runs_stays_the_one() -> None:
    """As long as somebody runs it, the same program is given to the next, however many came meanwhile."""
    images = Images()
    hash, program = images.add(image(0))
    for number in range(1, 2 * MOST_PROGRAMS):
        images.add(image(number))
    assert images.program(hash) is program


def test_the_program_that_is_used_is_the_one() -> None:
    """One that was made elsewhere, as a session's is, takes the place of another; and none is left behind."""
    images = Images()
    images.add(image(1))
    for _ in range(50):
        used = Program(image(1))
        assert images.program(images.hash_of(used)) is used
    gc.collect()
    assert len(images._hashes) == len(images._programs) == len(images._ready) == 1


def test_large_programs_are_ready_one_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Decoded, a program takes many times its image: their images count, and the last may have any size."""
    monkeypatch.setattr(module, "PROGRAM_BYTES", 1000)
    images = Images()
    for number in range(10):
        images.add(image(number, 50))
    assert 1 < len(images._ready) < 10
    images.add(image(11, 500))
    assert len(images._ready) == 1
    assert len(images._kept) == 11


def test_small_images_count(monkeypatch: pytest.MonkeyPatch) -> None:
    """An image of a few bytes takes more than these; the one that was used longest ago goes."""
    monkeypatch.setattr(module, "MOST_BYTES", 20_000)
    images = Images()
    first, _ = images.add(image(0))
    second, _ = images.add(image(1))
    for number in range(2, 40):
        images.add(image(number))
        assert images.program(first) is not None
    assert images.data(second) is images.program(second) is None
    assert len(images._kept) == len(images._ready) < 20
    assert images._bytes == sum(len(data) + module.ENTRY for data in images._kept.values()) <= 20_000
    assert images._ready_bytes == sum(map(len, images._kept.values()))
