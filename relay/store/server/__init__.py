"""Connections to servers, whether they answer, their replicas, errors, clocks and locks."""
