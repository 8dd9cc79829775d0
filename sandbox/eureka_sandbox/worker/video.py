"""Show a recorded episode: MuJoCo draws each frame from qpos and qvel, PyAV encodes them, as a film (H.264) or as a
contact sheet (JPEG).

A camera that follows the robot hides how far it came, so the floor is drawn as a grid of one-metre squares with posts
that carry their distance, and time and distance are written on every frame.

A failed OpenGL import cannot be undone within a process, so each back end (`MUJOCO_GL`, or EGL, then OSMesa) is tried
in a process of its own: this module's `main`.
"""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from dataclasses import asdict, dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from eureka_evaluation.episode import Episode
from eureka_sandbox.protocol import SheetSpec, VideoSpec

if TYPE_CHECKING:
    import mujoco

INSTALL_GL = "install EGL (Debian: libegl1 libegl-mesa0 libgl1-mesa-dri libopengl0) or OSMesa (libosmesa6)"
RENDERING_OFF = ("disable", "disabled", "off", "false", "0")
"""Values of `MUJOCO_GL` that mean no OpenGL at all."""
FILM, POSTER, FRAMES = "video.mp4", "poster.jpg", "frames.jpg"
NEARER = 0.75
"""How far from the robot a small frame is drawn, as a share of a film's distance."""
RENDER_SECONDS = 120
"""A renderer that takes longer has hung: the film is given up, the scores are not."""


@dataclass(frozen=True)
class View:
    """How a body is filmed: lengths in m, angles in degrees, the robot in the middle."""

    distance: float
    height: float = 0.0
    """World height that the camera looks at."""
    azimuth: float = 90.0
    elevation: float = -12.0
    follows: bool = True
    """Whether the camera moves along x with the robot, past posts that mark the distance."""
    readout: tuple[tuple[str, str, str], ...] = (("distance", "torso_x", "m"),)
    """Label, scalar state variable and unit of what is written on the frames."""
    small: bool = False
    """A small frame, which the posts' figures would fill."""


VIEWS = {
    "half_cheetah": View(4.5, 0.6, readout=(("distance", "torso_x", "m"), ("rotation", "cumulative_rotation", "rad"))),
    "hopper": View(4.0, 0.9),
    "walker2d": View(4.5, 0.9),
    "swimmer": View(4.5, 0.0, elevation=-50.0),
    "ant": View(6.0, 0.5, elevation=-25.0),
    "reacher": View(0.75, 0.0, elevation=-89.0, follows=False, readout=(("to target", "target_distance", "m"),)),
    "inverted_pendulum": View(3.0, 0.3, follows=False, readout=(("pole angle", "pole_angle", "rad"),)),
}


def film(
    body: str, model: mujoco.MjModel, episode: Episode, video: VideoSpec, scratch: Path
) -> tuple[dict[str, bytes], str]:
    """Film one episode.

    Args:
        body: its name in the catalogue, for the view.
        model: what was simulated.
        episode: the recording.
        video: size, rate and longest duration.
        scratch: folder for intermediate files, which are removed afterwards.

    Returns:
        `video.mp4` with a still from its middle, `poster.jpg`, and an empty note; or nothing, and why there is no film
        and what to install.
    """
    rate, rows = frame_rows(episode, video)
    size = {"width": video.width // 2 * 2, "height": video.height // 2 * 2}  # 4:2:0 needs even sides
    made, reason = _drawn(body, model, episode, rows, {"rate": str(rate), **size}, (FILM, POSTER), scratch)
    return made, f"no video: {reason}" if reason else ""


def contact_sheet(
    body: str, model: mujoco.MjModel, episode: Episode, sheet: SheetSpec, scratch: Path
) -> tuple[dict[str, bytes], str]:
    """Frames of one episode in one picture. As `film`, but for `frames.jpg`."""
    rows = [round(row) for row in np.linspace(0, episode.length, sheet.columns * sheet.rows)]
    order = {"width": sheet.frame_width, "height": sheet.frame_height, "columns": sheet.columns}
    made, reason = _drawn(body, model, episode, rows, order, (FRAMES,), scratch)
    return made, f"no frames: {reason}" if reason else ""


def _drawn(
    body: str,
    model: mujoco.MjModel,
    episode: Episode,
    rows: list[int],
    order: dict[str, Any],
    wanted: tuple[str, ...],
    scratch: Path,
) -> tuple[dict[str, bytes], str]:
    """The wanted files, drawn from recorded rows; or nothing, and why."""
    import mujoco

    if importlib.util.find_spec("av") is None:
        return {}, "the package 'av' is missing; pip install av"
    scratch.mkdir(exist_ok=True)
    files = [scratch / name for name in ("film.mjb", "film.npz", "film.json", *wanted)]
    try:
        mujoco.mj_saveModel(model, str(files[0]), None)
        np.savez(files[1], qpos=episode.qpos[rows], qvel=episode.qvel[rows])
        view = VIEWS.get(body, View(4.0))
        captions = [caption(view, episode, row) for row in rows]
        if "columns" in order:
            view = replace(view, small=True, distance=view.distance * (NEARER if view.follows else 1.0))
            captions[1:] = [[("  ".join(value for _, value in lines), "")] for lines in captions[1:]]
        files[2].write_text(json.dumps({"view": asdict(view), "captions": captions, **order}))
        reason = _render_in_a_process(scratch)
        return ({}, reason) if reason else ({file.name: file.read_bytes() for file in files[3:]}, "")
    except OSError as error:  # a picture is not worth a score
        return {}, str(error)
    finally:
        for file in files:
            file.unlink(missing_ok=True)


def frame_rows(episode: Episode, video: VideoSpec) -> tuple[Fraction, list[int]]:
    """Frames per second (never more than there are control steps) and the recorded row that each frame shows."""
    rate = min(Fraction(video.frames_per_second), 1 / Fraction(episode.dt).limit_denominator(100_000))
    count = int(min(episode.seconds, video.seconds) * rate + 1e-6) + 1
    return rate, [min(round(frame / (rate * Fraction(episode.dt))), episode.length) for frame in range(count)]


def caption(view: View, episode: Episode, row: int) -> list[tuple[str, str]]:
    """What is written on the frame of one recorded row: pairs of label and value."""
    lines = [("time", f"{row * episode.dt:.2f} s")]
    for label, name, unit in view.readout:
        if name in episode.state:
            value = float(episode.state[name][row])
            if view.follows and label == "distance":
                value -= float(episode.state[name][0])
            lines.append((label, f"{value:+.2f} {unit}"))
    return lines


def _render_in_a_process(folder: Path) -> str:
    """Try each OpenGL back end; return the empty string, or why none worked."""
    chosen = os.environ.get("MUJOCO_GL", "").strip().lower()
    if chosen in RENDERING_OFF:
        return f"MUJOCO_GL={chosen} turns rendering off; unset it"
    reasons = []
    for backend in [chosen] if chosen else ["egl", "osmesa"]:
        command = [sys.executable, "-I", "-m", "eureka_sandbox.worker.video", str(folder)]
        environment = os.environ | {"MUJOCO_GL": backend, "LP_NUM_THREADS": "1"}  # Mesa's CPU renderer: one core a box
        try:
            done = subprocess.run(
                command,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                timeout=RENDER_SECONDS,
                check=False,
            )
        except subprocess.TimeoutExpired:
            reasons.append(f"{backend}: nothing after {RENDER_SECONDS} s")
            continue
        if done.returncode == 0:
            return ""
        lines = done.stderr.decode(errors="replace").strip().splitlines()
        reasons.append(f"{backend}: {lines[-1][:160] if lines else f'ended with {done.returncode}'}")
    return f"{'; '.join(reasons)}; {INSTALL_GL}"


# ------------------------------------------------------------------------------------------ in the rendering process


def main(folder: Path) -> None:
    """Render and encode what was put into the folder: as a contact sheet if its order has columns, else as a film."""
    import mujoco

    order = json.loads((folder / "film.json").read_text())
    model = mujoco.MjModel.from_binary_path(str(folder / "film.mjb"))
    with np.load(folder / "film.npz", allow_pickle=False) as arrays:
        qpos, qvel = arrays["qpos"], arrays["qvel"]
    painter = Painter(model, View(**order["view"]), order["width"], order["height"])
    frames = (
        painter.paint(position, velocity, lines)
        for position, velocity, lines in zip(qpos, qvel, order["captions"], strict=True)
    )
    if "columns" in order:
        (folder / FRAMES).write_bytes(still(tiled(list(frames), order["columns"])))
    else:
        encode(folder / FILM, frames, Fraction(order["rate"]), order["width"], order["height"])
        middle = len(qpos) // 2
        (folder / POSTER).write_bytes(still(painter.paint(qpos[middle], qvel[middle], order["captions"][middle])))
    painter.close()


def tiled(frames: list[NDArray[np.uint8]], columns: int) -> NDArray[np.uint8]:
    """Frames, each `(height, width, 3)`, in reading order as one picture `(rows × height, columns × width, 3)`, with
    white lines between them."""
    for frame in frames:
        frame[:2], frame[:, :2] = 255, 255
    rows = [np.concatenate(frames[i : i + columns], axis=1) for i in range(0, len(frames), columns)]
    return np.concatenate(rows, axis=0)


def still(frame: NDArray[np.uint8]) -> bytes:
    """One frame, `(height, width, 3)`, as a baseline JPEG."""
    import av

    codec = av.CodecContext.create("mjpeg", "w")
    codec.height, codec.width = frame.shape[:2]
    codec.pix_fmt, codec.time_base, codec.options = "yuvj420p", Fraction(1), {"qmin": "5", "qmax": "5"}
    picture = av.VideoFrame.from_ndarray(np.ascontiguousarray(frame), format="rgb24")
    return b"".join(bytes(packet) for packet in [*codec.encode(picture), *codec.encode(None)])


def encode(path: Path, frames: Any, rate: Fraction, width: int, height: int) -> None:
    """Write frames, each `(height, width, 3)` uint8, as H.264 in an mp4 that plays while it loads."""
    import av

    with av.open(str(path), "w", format="mp4", options={"movflags": "+faststart"}) as container:
        stream = container.add_stream("libx264", rate=rate, options={"crf": "26", "preset": "veryfast"})
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        for frame in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode())


class Painter:
    """Draws frames off screen with the OpenGL back end that `MUJOCO_GL` named when mujoco was imported."""

    def __init__(self, model: mujoco.MjModel, view: View, width: int, height: int) -> None:
        import mujoco

        self._model, self._view, self._mujoco = model, view, mujoco
        model.vis.global_.offwidth, model.vis.global_.offheight = width, height
        model.vis.quality.offsamples = 0  # smoothing takes most of a frame where the CPU draws
        _draw_floor_as_metre_grid(model)
        self._data = mujoco.MjData(model)
        self._gl = mujoco.GLContext(width, height)
        self._gl.make_current()
        self._context = mujoco.MjrContext(model, int(mujoco.mjtFontScale.mjFONTSCALE_100))
        mujoco.mjr_setBuffer(int(mujoco.mjtFramebuffer.mjFB_OFFSCREEN), self._context)
        self._scene = mujoco.MjvScene(model, maxgeom=1000)
        self._scene.flags[int(mujoco.mjtRndFlag.mjRND_SHADOW)] = 0  # shadows double the time of a frame on a CPU
        self._camera = mujoco.MjvCamera()
        self._camera.distance, self._camera.azimuth = view.distance, view.azimuth
        self._camera.elevation = view.elevation
        self._window = mujoco.MjrRect(0, 0, width, height)
        self._pixels = np.empty((height, width, 3), dtype=np.uint8)

    def paint(
        self, qpos: NDArray[np.float64], qvel: NDArray[np.float64], lines: list[tuple[str, str]]
    ) -> NDArray[np.uint8]:
        """One frame, `(height, width, 3)`; the array is a copy."""
        mj = self._mujoco
        self._data.qpos[:], self._data.qvel[:] = qpos, qvel
        mj.mj_forward(self._model, self._data)
        x = float(self._data.subtree_com[1][0]) if self._view.follows else 0.0
        self._camera.lookat[:] = (x, 0.0, self._view.height)
        everything = int(mj.mjtCatBit.mjCAT_ALL)
        mj.mjv_updateScene(self._model, self._data, mj.MjvOption(), None, self._camera, everything, self._scene)
        if self._view.follows:
            self._plant_posts(x)
        mj.mjr_render(self._window, self._scene, self._context)
        labels, values = zip(*lines, strict=True)
        font, corner = int(mj.mjtFont.mjFONT_NORMAL), int(mj.mjtGridPos.mjGRID_TOPLEFT)
        mj.mjr_overlay(font, corner, self._window, "\n".join(labels), "\n".join(values), self._context)
        mj.mjr_readPixels(self._pixels, None, self._window, self._context)
        return self._pixels[::-1].copy()

    def _plant_posts(self, x: float) -> None:
        """Posts behind the robot at every metre near `x`, each with its distance from the start."""
        mj, scene = self._mujoco, self._scene
        reach = int(self._view.distance) + 1
        for metre in range(round(x) - reach, round(x) + reach + 1):
            geom = scene.geoms[scene.ngeom]
            size, position = np.array([0.02, 0.02, 0.12]), np.array([metre, 1.0, 0.12])
            colour = np.array([0.9, 0.3, 0.1, 1.0], dtype=np.float32)
            mj.mjv_initGeom(geom, int(mj.mjtGeom.mjGEOM_BOX), size, position, np.eye(3).ravel(), colour)
            geom.label = "" if self._view.small else f"{metre} m"
            scene.ngeom += 1

    def close(self) -> None:
        """Free the OpenGL context."""
        self._context.free()
        self._gl.free()


def _draw_floor_as_metre_grid(model: mujoco.MjModel) -> None:
    """Make plane geoms endless in the picture, their texture one square per metre, soft and without mirror images."""
    import mujoco

    planes = model.geom_type == int(mujoco.mjtGeom.mjGEOM_PLANE)
    model.geom_size[planes, :2] = 0
    materials = model.geom_matid[planes]
    materials = materials[materials >= 0]
    model.mat_texuniform[materials] = 1
    model.mat_texrepeat[materials] = 0.5  # a checker texture holds two squares
    model.mat_reflectance[materials] = 0
    for texture in set(model.mat_texid[materials].ravel().tolist()) - {-1}:
        start = int(model.tex_adr[texture])
        size = int(model.tex_height[texture] * model.tex_width[texture] * model.tex_nchannel[texture])
        texels = model.tex_data[start : start + size]
        texels[:] = 110 + texels // 4


if __name__ == "__main__":
    try:
        main(Path(sys.argv[1]))
    except Exception as error:
        sys.stderr.write(f"\n{type(error).__name__}: {str(error).partition(chr(10))[0]}")
        sys.stderr.flush()
        os._exit(1)  # half-made OpenGL objects would write over the reason while they are destroyed
