"""What every part of the relay knows: states and outcomes of invocations, their ids, and fair shares. Pure."""
