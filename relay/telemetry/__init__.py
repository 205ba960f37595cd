"""What a process tells of itself: log events, and the spans of traces."""
