"""The shell of a node: commands, a session (lines in, text out), its telnet port, and a client of that port.

``workspace`` is the VM and the program of a session, ``execution`` runs it through the scheduler, ``session``
takes lines and gives text, ``commands`` is the table of what it understands, ``conversation`` a session with
somebody who may be silent, slow or gone, ``telnet`` its port, with ``iac``, ``lines`` and ``intake`` below it, and
``client`` asks the shell of a running node one question. Nothing is imported here, so that the client costs no
Twisted.
"""
