"""Applications that the cluster keeps running: what is to run, where it runs, and what happens when it ends.

:mod:`~iridium.supervision.application` reads application files, :mod:`~iridium.supervision.machine` decides
without I/O, :mod:`~iridium.supervision.supervisor` meets processes, disk and network.
``docs/supervision.md`` tells the rules and what they guarantee.
"""
