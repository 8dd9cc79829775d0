"""The film of a score: H.264 that plays anywhere, or a reason why there is none; the scores come either way."""

from __future__ import annotations

import io
import os
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from eureka_evaluation.episode import Episode
from eureka_sandbox.backends.blob_check import check_frames, check_poster
from eureka_sandbox.bodies import BODIES
from eureka_sandbox.protocol import EnvironmentSpec, ScoreSpec, SheetSpec, VideoSpec
from eureka_sandbox.worker.emit import Emitter
from eureka_sandbox.worker.scoring import score
from eureka_sandbox.worker.video import VIEWS, caption, frame_rows

TASK = "def fitness(episode): return float(episode.qpos[-1, 0])\ndef success(episode): return True\n"
FILM = VideoSpec(width=161, height=120, seconds=0.5, frames_per_second=10)


def scored(folder: Path, body: str, video: VideoSpec | None = FILM, sheet: SheetSpec | None = None) -> Any:
    (folder / "task.py").write_text(TASK)
    (folder / "scratch").mkdir()
    environment = EnvironmentSpec(body=body, max_episode_steps=20)
    spec = ScoreSpec(environment=environment, seeds=(0, 1, 2), video=video, sheet=sheet)
    return score(spec, folder, Emitter(io.BytesIO()))


def recorded(steps: int, dt: float) -> Episode:
    x = np.linspace(5.0, 7.0, steps + 1, dtype=np.float32)
    state = {"torso_x": x, "cumulative_rotation": np.zeros(steps + 1, np.float32)}
    nothing = np.zeros((steps + 1, 1))
    return Episode(nothing, nothing, np.zeros((steps, 1), np.float32), state, terminated=False, dt=dt)


def test_a_film_is_h264_that_starts_to_play_while_it_loads(tmp_path: Path) -> None:
    av = pytest.importorskip("av")
    result, blobs = scored(tmp_path, "half_cheetah")
    if result.video_note:
        pytest.skip(result.video_note)
    film = blobs["video.mp4"]
    assert film.index(b"moov") < film.index(b"mdat"), "the index must come first"
    with av.open(io.BytesIO(film)) as container:
        stream = container.streams.video[0]
        assert (stream.codec_context.name, stream.pix_fmt) == ("h264", "yuv420p")
        assert (stream.width, stream.height, stream.average_rate) == (160, 120, 10)
        frames = [frame.to_ndarray(format="rgb24") for frame in container.decode(stream)]
    assert len(frames) == 6
    assert all(frame.std() > 10 for frame in frames), "no frame is blank"
    assert not np.array_equal(frames[0], frames[-1])
    check_poster(blobs["poster.jpg"], FILM)
    with av.open(io.BytesIO(blobs["poster.jpg"]), format="mjpeg") as container:
        (still,) = (frame.to_ndarray(format="rgb24") for frame in container.decode(video=0))
    assert np.abs(still.astype(int) - frames[3]).mean() < 6, "the frame in the middle"
    assert list((tmp_path / "scratch").iterdir()) == []


def test_a_contact_sheet_shows_an_episode_from_its_reset_to_its_end(tmp_path: Path) -> None:
    av = pytest.importorskip("av")
    result, blobs = scored(tmp_path, "half_cheetah", None, SheetSpec())
    if result.video_note:
        pytest.skip(result.video_note)
    assert set(blobs) == {"episodes.npz", "frames.jpg"}
    check_frames(blobs["frames.jpg"], SheetSpec())
    with av.open(io.BytesIO(blobs["frames.jpg"]), format="mjpeg") as container:
        (sheet,) = (frame.to_ndarray(format="rgb24").astype(int) for frame in container.decode(video=0))
    assert sheet.shape == (576, 768, 3)
    frames = [
        sheet[192 * row : 192 * (row + 1), 256 * column : 256 * (column + 1)] for row in range(3) for column in range(3)
    ]
    assert all(frame[10:, 10:].std() > 10 for frame in frames), "no frame is blank"
    assert all(frame[0, 20:].min() > 200 for frame in frames), "white lines part them"
    assert all(np.abs(a - b).mean() > 0.5 for a, b in pairwise(frames)), "each is another instant"
    assert list((tmp_path / "scratch").iterdir()) == []


@pytest.mark.parametrize("backend", ["glfw", "osmesa-that-is-not-there"])
def test_without_opengl_the_scores_come_with_the_reason_and_the_remedy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, backend: str
) -> None:
    monkeypatch.setenv("MUJOCO_GL", backend)
    monkeypatch.delenv("DISPLAY", raising=False)
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
    result, blobs = scored(tmp_path, "hopper")
    assert len(result.fitness) == 3
    assert set(blobs) == {"episodes.npz"}
    assert result.video_note.startswith(f"no video: {backend}: ")
    assert "libegl1" in result.video_note
    assert os.environ["MUJOCO_GL"] == backend
    assert list((tmp_path / "scratch").iterdir()) == []


def test_rendering_that_was_turned_off_stays_off(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MUJOCO_GL", "disabled")
    result, blobs = scored(tmp_path, "hopper")
    assert "video.mp4" not in blobs
    assert result.video_note == "no video: MUJOCO_GL=disabled turns rendering off; unset it"


def test_frames_show_the_instants_they_stand_for() -> None:
    rate, rows = frame_rows(recorded(250, 0.008), VideoSpec(seconds=1.0, frames_per_second=25))
    assert rate == 25
    assert rows[:3] == [0, 5, 10]
    assert rows[-1] == 125, "one second"


def test_a_film_has_no_more_frames_than_there_were_steps() -> None:
    rate, rows = frame_rows(recorded(30, 0.05), VideoSpec(seconds=10.0, frames_per_second=25))
    assert rate == Fraction(20)
    assert rows == list(range(31))


def test_every_frame_says_how_far_the_robot_came_and_when() -> None:
    episode = recorded(100, 0.05)
    assert caption(VIEWS["half_cheetah"], episode, 50) == [
        ("time", "2.50 s"),
        ("distance", "+1.00 m"),
        ("rotation", "+0.00 rad"),
    ]


def test_every_body_has_a_view_whose_readout_it_can_give() -> None:
    assert VIEWS.keys() == BODIES.keys()
    for name, view in VIEWS.items():
        for _, variable, unit in view.readout:
            assert (BODIES[name].variable(variable).shape, BODIES[name].variable(variable).unit) == ((), unit)
