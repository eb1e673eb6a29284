"""A line editor for a terminal at the other end of a connection; without I/O and without the system's terminals.

``keys`` makes keys of bytes, ``editor`` a line of keys, ``display`` what the terminal has to be told so that it
shows the line behind whatever else is written, ``width`` knows how wide characters are. ``terminal`` puts them
together.
"""
