"""How a box's answer is cut into frames on its stdout, and how large each may be."""

from __future__ import annotations

FRAME_HEADER = ">cI"
"""One kind byte, then the payload's length in bytes (big endian)."""
PROGRESS_BYTES = 1024
CHECKPOINT_BYTES = 16 * 2**20
"""Without networks and a replay buffer, which have room of their own: see `replay_size.checkpoint_limit`."""
CHECKPOINT_META_BYTES = 2**16
RESULT_BYTES = 2**20
"""Curves of 400 rows × 40 columns at 26 bytes a number (sign, 17 digits, exponent, comma, blank) are 0.4 MiB."""


class FrameKind:
    """First byte of a frame."""

    HELLO = b"H"
    """JSON `{"pid": int}`: imports are done, the job was read."""
    PROGRESS = b"P"
    """JSON `Progress`, at most `PROGRESS_BYTES`."""
    CHECKPOINT = b"C"
    """JSON `CheckpointMeta`, one newline, safetensors: at most `replay_size.checkpoint_limit`. Each replaces the one
    before."""
    BLOB = b"B"
    """File name, one newline, the bytes."""
    RESULT = b"R"
    """JSON `TrainResult`, `ScoreResult` or `SmokeResult`, at most `RESULT_BYTES`; last frame."""
    FAILURE = b"F"
    """JSON `Failure`, at any point; last frame. Before `HELLO` it is the sandbox's failure, not the candidate's."""
