"""What all parts of the relay share: states and outcomes of invocations, their ids, and fair shares. Pure."""
