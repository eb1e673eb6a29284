"""Random and directed programs, and the comparison of engines on them.

``programs`` writes programs under a seed, ``shapes`` holds those that were chosen by hand, ``compare`` runs one on
several engines and says where they differ, ``shrink`` makes what differs small enough to read.
"""
