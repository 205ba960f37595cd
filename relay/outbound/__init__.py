"""Sends requests to endpoints: the sender, the transport on libcurl, the gate, and the limits of each transfer."""
