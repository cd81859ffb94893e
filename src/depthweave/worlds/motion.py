"""How cameras and things move: poses in float64 at any time, each path through its stated pose at time 0."""

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from jaxtyping import Float64

from depthweave.errors import WrongInput
from depthweave.worlds.shapes import IDENTITY, Rotation, Vector

Pose = Float64[np.ndarray, "4 4"]
SINES = 12
"""Of a shake, per axis."""
NODES, WEIGHTS = np.polynomial.legendre.leggauss(12)


def pose_matrix(rotation: Rotation | Float64[np.ndarray, "3 3"], position: Vector | Float64[np.ndarray, "3"]) -> Pose:
    """4x4 matrix of p -> rotation p + position."""
    pose = np.eye(4)
    pose[:3, :3] = rotation
    pose[:3, 3] = position
    return pose


def turn(axis_angle_rad: Vector | Float64[np.ndarray, "3"]) -> Float64[np.ndarray, "3 3"]:
    """Rotation matrix of axis times angle (Rodrigues), exact for the smallest angles, too."""
    x, y, z = (float(value) for value in axis_angle_rad)
    angle = math.hypot(x, y, z)
    cross = np.array([[0.0, -z, y], [z, 0.0, -x], [-y, x, 0.0]])
    sine = float(np.sinc(angle / math.pi))
    versine = 0.5 * float(np.sinc(angle / (2 * math.pi))) ** 2
    return np.asarray(np.eye(3) + sine * cross + versine * (cross @ cross))


def _check_period(period_s: float, name: str) -> None:
    if not period_s > 0:
        raise WrongInput(f"{name}: period_s is {period_s}; a period is longer than 0 s.")


@dataclass(frozen=True)
class Motion:
    """Motion of a thing: p(t) = position + velocity t + sway sin(2 pi t / period), R(t) = exp(t spin) R(0).

    Attributes:
        velocity_m_s: in world axes.
        spin_rad_s: axis times angular speed, in world axes, about the thing's position.
        sway_m: amplitude in world axes; period_s is its period.
        appears_s, leaves_s: it exists for appears_s <= t < leaves_s.
    """

    velocity_m_s: Vector = (0.0, 0.0, 0.0)
    spin_rad_s: Vector = (0.0, 0.0, 0.0)
    sway_m: Vector = (0.0, 0.0, 0.0)
    period_s: float = 1.0
    appears_s: float = -math.inf
    leaves_s: float = math.inf

    def __post_init__(self) -> None:
        _check_period(self.period_s, "Motion")

    @property
    def moves(self) -> bool:
        """Whether its pose changes; to appear or to leave is no movement."""
        return any((*self.velocity_m_s, *self.spin_rad_s, *self.sway_m))

    def exists(self, time_s: float | int) -> bool:
        """Whether the thing is there at a time."""
        return self.appears_s <= time_s < self.leaves_s

    def pose(self, position: Vector, rotation: Rotation, time_s: float | int) -> Pose:
        """Pose at a time of a thing that stands at `position`, turned by `rotation`, at time 0.

        Returns:
            world_from_thing; the stated pose itself at time 0 and where nothing moves.
        """
        swing = math.sin(2 * math.pi * time_s / self.period_s)
        moved = np.array(position) + time_s * np.array(self.velocity_m_s) + swing * np.array(self.sway_m)
        return pose_matrix(turn(time_s * np.array(self.spin_rad_s)) @ np.array(rotation), moved)


STILL = Motion()


@dataclass(frozen=True)
class Shake:
    """Smooth random shifts and turns of a camera, 0 at time 0: sums of sines with frequencies within a band.

    Attributes:
        shift_m: standard deviation over time along the camera's x, y and z.
        turn_rad: standard deviation about the camera's x, y and z (pitch, yaw, roll).
        lowest_hz, highest_hz: the band; amplitudes fall with 1 / frequency.
        seed: of the frequencies and phases.
    """

    shift_m: Vector = (0.0, 0.0, 0.0)
    turn_rad: Vector = (0.0, 0.0, 0.0)
    lowest_hz: float = 0.2
    highest_hz: float = 2.0
    seed: int = 0

    def __post_init__(self) -> None:
        if not 0 < self.lowest_hz <= self.highest_hz:
            raise WrongInput(
                f"Shake: the band {self.lowest_hz} to {self.highest_hz} Hz is none; 0 < lowest_hz <= highest_hz is."
            )

    def pose(self, time_s: float | int) -> Pose:
        """camera_from_shaken_camera at a time."""
        if not any((*self.shift_m, *self.turn_rad)):
            return np.eye(4)
        frequency_hz, amplitude, phase = _sines(self.seed, self.lowest_hz, self.highest_hz)
        values = (amplitude * (np.sin(2 * math.pi * time_s * frequency_hz + phase) - np.sin(phase))).sum(1)
        return pose_matrix(turn(values[3:] * self.turn_rad), values[:3] * self.shift_m)


@dataclass(frozen=True)
class CameraPath:
    """A camera that stands still; the other paths of this file move.

    Attributes:
        position, rotation: of the left camera at time 0, p_world = rotation p_camera + position.
    """

    position: Vector = (0.0, 0.0, 0.0)
    rotation: Rotation = IDENTITY

    def world_from_camera(self, time_s: float | int) -> Pose:
        """Pose of the left camera at a time."""
        return pose_matrix(self.rotation, self.position)


@dataclass(frozen=True)
class HandHeld(CameraPath):
    """A camera that somebody carries and pans.

    Attributes:
        velocity_m_s: in world axes.
        spin_rad_s: axis times angular speed, in world axes, about the camera.
        shake: of the hand.
    """

    velocity_m_s: Vector = (0.0, 0.0, 0.0)
    spin_rad_s: Vector = (0.0, 0.0, 0.0)
    shake: Shake = Shake((0.02, 0.02, 0.02), (0.012, 0.012, 0.008))

    def world_from_camera(self, time_s: float | int) -> Pose:
        """Pose of the left camera at a time."""
        carried = Motion(self.velocity_m_s, self.spin_rad_s).pose(self.position, self.rotation, time_s)
        return np.asarray(carried @ self.shake.pose(time_s))


@dataclass(frozen=True)
class Driving(CameraPath):
    """A camera on a vehicle that drives, on level ground, to where the camera looks at time 0.

    Heading(t) = turn t + swing sin(2 pi t / period), positive to the right.

    Attributes:
        speed_m_s: along the heading.
        turn_rad_s: of a steady curve.
        swing_rad, period_s: of weaving from side to side.
        shake: of the road.
    """

    speed_m_s: float = 8.0
    turn_rad_s: float = 0.0
    swing_rad: float = 0.0
    period_s: float = 6.0
    shake: Shake = Shake((0.0, 0.01, 0.0), (0.004, 0.001, 0.002), 0.5, 5.0)

    def __post_init__(self) -> None:
        _check_period(self.period_s, "Driving")
        if math.hypot(self.rotation[0][2], self.rotation[2][2]) < 1e-6:
            raise WrongInput("Driving: the camera looks straight up or down; rotate it so that it looks ahead.")

    def world_from_camera(self, time_s: float | int) -> Pose:
        """Pose of the left camera at a time."""
        heading = float(self._heading(np.float64(time_s)))
        driven = pose_matrix(turn((0.0, heading, 0.0)) @ np.array(self.rotation), self._place(time_s))
        return np.asarray(driven @ self.shake.pose(time_s))

    def _heading(self, time_s: Float64[np.ndarray, "*n"] | np.float64) -> Float64[np.ndarray, "*n"] | np.float64:
        return self.turn_rad_s * time_s + self.swing_rad * np.sin(2 * math.pi / self.period_s * time_s)

    def _place(self, time_s: float | int) -> Float64[np.ndarray, "3"]:
        # Gauss-Legendre over pieces in which the heading turns little: exact to rounding.
        pieces = 1 + math.ceil(abs(time_s) * (abs(self.turn_rad_s) + 4 / self.period_s))
        times = (np.arange(pieces)[:, None] + (NODES + 1) / 2) * (time_s / pieces)
        heading = self._heading(times)
        length = self.speed_m_s * time_s / (2 * pieces) * WEIGHTS
        ahead, right = (length * np.cos(heading)).sum(), (length * np.sin(heading)).sum()
        x, z = self.rotation[0][2], self.rotation[2][2]
        level = math.hypot(x, z)
        return np.array(self.position) + np.array([ahead * x + right * z, 0.0, ahead * z - right * x]) / level


@dataclass(frozen=True)
class Orbiting(CameraPath):
    """A camera that circles about an axis through `center` and turns with it: points of the axis keep their pixels.

    Attributes:
        center: a point of the axis, in world axes.
        spin_rad_s: axis times angular speed, in world axes.
        shake: of the hand.
    """

    center: Vector = (0.0, 0.0, 3.0)
    spin_rad_s: Vector = (0.0, 0.2, 0.0)
    shake: Shake = Shake()

    def world_from_camera(self, time_s: float | int) -> Pose:
        """Pose of the left camera at a time."""
        turned = turn(time_s * np.array(self.spin_rad_s))
        position = np.array(self.position)
        moved = position + (turned - np.eye(3)) @ (position - np.array(self.center))
        circled = pose_matrix(turned @ np.array(self.rotation), moved)
        return np.asarray(circled @ self.shake.pose(time_s))


@lru_cache(maxsize=256)
def _sines(
    seed: int, lowest_hz: float, highest_hz: float
) -> tuple[Float64[np.ndarray, "6 n"], Float64[np.ndarray, "6 n"], Float64[np.ndarray, "6 n"]]:
    """Frequencies, amplitudes and phases of six sums of sines, each of standard deviation 1."""
    generator = np.random.default_rng(seed)
    place = (np.arange(SINES) + generator.random((6, SINES))) / SINES
    frequency_hz = lowest_hz * (highest_hz / lowest_hz) ** place
    amplitude = 1 / frequency_hz
    amplitude *= math.sqrt(2) / np.linalg.norm(amplitude, axis=1, keepdims=True)
    return frequency_hz, amplitude, generator.uniform(0, 2 * math.pi, (6, SINES))
