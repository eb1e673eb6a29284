"""Text from elsewhere as it may be shown: control characters escaped, so that no peer drives anyone's terminal."""

from __future__ import annotations

from iridium.errors import escaped


def shortened(text: str, most: int = 60) -> str:
    """What somebody typed, as an error repeats it."""
    return text if len(text) <= most else f"{text[:most]}..."


def visible(text: str) -> str:
    """The text with everything that is not printable as an escape; line ends and tabs stay."""
    lines = text.split("\n")
    return "\n".join(line if line.isprintable() else "".join(map(escaped, line)) for line in lines)


def _escape_json(character: str) -> str:
    if character.isprintable():
        return character
    units = character.encode("utf-16-be")
    return "".join(f"\\u{units[at]:02x}{units[at + 1]:02x}" for at in range(0, len(units), 2))


def visible_json(document: str) -> str:
    """A JSON document of one line, which stays the same document, with what is not printable as ``\\uXXXX``."""
    return document if document.isprintable() else "".join(map(_escape_json, document))
