"""Rows of a small benchmark, for tests."""

TINY = [
    {"block": "a2", "channels": 16, "shape": [6, 5], "batch": 2},
    {"block": "srl-fft", "channels": 16, "shape": [6, 5], "batch": 2},
    {
        "name": "non-local-plain",
        "block": "non-local",
        "channels": 16,
        "shape": [6, 5],
        "batch": 2,
        "options": {"memory_efficient": False},
    },
    {"block": "a2", "channels": 8, "shape": [2, 4, 3]},
]
