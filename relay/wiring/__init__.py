"""The composition roots: each makes the parts of one kind of process, and wires them together."""
