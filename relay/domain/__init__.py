"""What every part of the relay uses: states and outcomes of invocations, their ids, and fair shares. Pure."""
