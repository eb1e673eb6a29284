"""The shell over SSH: conch's transport with what a port that strangers reach needs around it.

``authorized`` reads who may log in, ``host_key`` is who the node is, ``algorithms`` what is spoken. ``port`` is
the port, ``transport`` one connection to it; on it first ``authentication``, then ``connection``, whose channels
are ``channel``: each a session, in one of the ways that ``shells`` has. Nothing is imported here: a node without
SSH does not pay for cryptography.
"""
