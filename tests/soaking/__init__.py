"""What `python -m tests.soak` is made of: people at the shell, peers in the mesh, and what is level."""
