"""The request that a registration and a trigger become."""

from __future__ import annotations

from relay.request.rendering import Template


def render(shape, target, trigger, *, reference_id, traceparent=None):
    return Template(shape, target).fill(trigger, reference_id, traceparent)
