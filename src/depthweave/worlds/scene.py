"""Descriptions of scenes: what stands where, what it is made of, which cameras look at it.

World axes: x right, y down (along gravity), z forward; metres and seconds. All values are plain numbers, so that a
scene can be written by hand, compared and sent to another process; `worlds.compose` draws them from a recipe.
"""

from dataclasses import dataclass, field

from depthweave.types import Camera
from depthweave.worlds.motion import STILL, CameraPath, Motion
from depthweave.worlds.sensor import IDEAL, Sensor
from depthweave.worlds.shapes import IDENTITY, Rotation, Shape, Vector

NOWHERE = (0.0, 0.0, 0.0)


@dataclass(frozen=True)
class Material:
    """What a surface looks like.

    Colour = (gain * texel + lift), reflectance encoded with gamma 2 as the texels are.

    Attributes:
        texture: number of the tile; `Textures` makes the picture of that number.
        size_m: width of one tile on the surface; it repeats.
        turn_rad: of the tile on the surface.
        shift: of the tile in tiles, (u, v).
        gain, lift: per channel.
        specular: strength of highlights, 0 none; they move with the eye.
        shininess: Blinn-Phong exponent.
        mirror: share of light that comes from the mirrored direction, in [0, 1].
        glass: share of light that passes straight through, in [0, 1]; truth stays the first surface.
    """

    texture: int = 0
    size_m: float = 1.0
    turn_rad: float = 0.0
    shift: tuple[float, float] = (0.0, 0.0)
    gain: Vector = (1.0, 1.0, 1.0)
    lift: Vector = NOWHERE
    specular: float = 0.0
    shininess: float = 30.0
    mirror: float = 0.0
    glass: float = 0.0


@dataclass(frozen=True)
class Part:
    """One shape of an object, placed in the object's axes by p_object = rotation p_shape + center."""

    shape: Shape
    material: Material
    center: Vector = NOWHERE
    rotation: Rotation = IDENTITY


@dataclass(frozen=True)
class Thing:
    """Parts that keep together and share one id, placed by p_world = rotation p_object + position.

    Attributes:
        parts: what it consists of.
        position, rotation: at time 0.
        motion: of its own, beside the camera's.
        name: its kind, for people.
    """

    parts: tuple[Part, ...]
    position: Vector = NOWHERE
    rotation: Rotation = IDENTITY
    motion: Motion = STILL
    name: str = "thing"


@dataclass(frozen=True)
class Light:
    """A lamp or, far away, the sun; what it does not reach gets the ambient share.

    Attributes:
        position: in world axes.
        color: linear light per channel that a surface facing the lamp receives.
        ambient: linear light per channel from everywhere.
        shadows: whether things throw shadows.
    """

    position: Vector = (-40.0, -80.0, -45.0)
    color: Vector = (0.9, 0.9, 0.9)
    ambient: Vector = (0.4, 0.4, 0.4)
    shadows: bool = True


@dataclass(frozen=True)
class Sky:
    """What a ray meets that hits nothing: a picture at infinity, linear light per channel.

    Attributes:
        zenith, horizon: colours, blended by elevation.
        texture: number of the tile of clouds.
        clouds: their strength in [0, 1].
    """

    zenith: Vector = (0.25, 0.45, 0.8)
    horizon: Vector = (0.8, 0.85, 0.9)
    texture: int = 0
    clouds: float = 0.0


@dataclass(frozen=True)
class Scene:
    """Everything that a picture depends on.

    Attributes:
        things: ids are places in this tuple; -1 is the sky.
        camera: intrinsics, size and baseline. Both cameras are identical, the right one is moved along the left one's
            x axis and has the same principal point (disparity 0 is at infinity).
        path: of the left camera in the world.
        light, sky: see there.
        sensors: of the left and of the right camera.
        seed: of noise, and of whatever else is drawn while rendering.
        name: for folders and tables.
    """

    things: tuple[Thing, ...]
    camera: Camera
    path: CameraPath = field(default_factory=CameraPath)
    light: Light = field(default_factory=Light)
    sky: Sky = field(default_factory=Sky)
    sensors: tuple[Sensor, Sensor] = (IDEAL, IDEAL)
    seed: int = 0
    name: str = "world"
