"""The cluster: who a node is, how nodes talk, who is in the mesh.

``identity`` is a node's own name and data directory; ``messages`` the wire's vocabulary; ``link`` one connection,
``rules`` the pure decisions, ``membership`` (with ``table``, ``admission``, ``dialling``, ``liveness``,
``questions``) the whole mesh as one node sees it, ``post`` (with ``session``, ``streams``) the mail between nodes:
all without I/O. ``protocol``, ``connecting``, ``mesh`` and ``conversation`` are their Twisted glue. ``types`` is
what the shell is shown, ``refusals`` why a node says no.
"""
