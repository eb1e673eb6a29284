"""The cluster: who a node is, how nodes talk, who is in the mesh.

``identity`` is a node's own name and data directory; ``messages`` the wire's vocabulary; ``link`` one connection,
``rules`` the pure decisions, ``membership`` the whole mesh as one node sees it: all without I/O. ``protocol`` and
``mesh`` are their Twisted glue. ``types`` is what the shell is shown, ``refusals`` why a node says no.
"""
