"""What VMs need besides their instructions: memory, printing, turns, the scheduler, processes and their messages.

All of it works on C structures (:mod:`iridium.vm.record`, ``layout``) and is written in a subset of Python
(``subset``), so that the same source runs as machine code, and as plain Python where there is no LLVM.
"""
