"""What worlds are drawn from: named, documented distributions that a TOML file can replace.

A recipe holds three kinds of values: a `Range` (numbers), a mapping of names to weights (choices) and a plain number,
which is a probability or another share in [0, 1]. Lengths and sizes in the picture are shares of its width, so that
one recipe serves every size and a seed gives the same scene at each.
"""

import math
import textwrap
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from os import PathLike
from pathlib import Path
from random import Random
from typing import Annotated, Any, TypeVar, get_args

from depthweave.errors import WrongFile, WrongInput

KINDS = ("uniform", "log", "normal")
Anything = TypeVar("Anything", bound="Section")


@dataclass(frozen=True)
class Range:
    """A distribution of numbers between two bounds.

    Attributes:
        low, high: no number is outside; equal bounds fix it.
        kind: `uniform`, `log` (uniform in the logarithm) or `normal` (mean in the middle, the bounds at two standard
            deviations, numbers beyond drawn anew).
    """

    low: float | int
    high: float | int
    kind: str = "uniform"

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise WrongInput(f"a range has no kind {self.kind!r}; it is one of {', '.join(KINDS)}.")
        if not (math.isfinite(self.low) and math.isfinite(self.high) and self.low <= self.high):
            raise WrongInput(f"a range from {self.low:g} to {self.high:g} is none; write [low, high] with low <= high.")
        if self.kind == "log" and self.low <= 0:
            raise WrongInput(f"a log range starts above 0, not at {self.low:g}.")

    def draw(self, random: Random) -> float:
        """One number."""
        if self.kind == "uniform" or self.low == self.high:
            return self.low + (self.high - self.low) * random.random()
        if self.kind == "log":
            number = self.low * math.exp(math.log(self.high / self.low) * random.random())
            return float(min(max(number, self.low), self.high))
        number = math.inf
        while not self.low <= number <= self.high:
            number = random.gauss((self.low + self.high) / 2, (self.high - self.low) / 4)
        return number

    def draw_count(self, random: Random) -> int:
        """One whole number; with kind `uniform` the ends are as likely as all others."""
        if self.kind == "uniform":
            return random.randint(round(self.low), round(self.high))
        return round(self.draw(random))


def choose(random: Random, weights: Mapping[str, float]) -> str:
    """One name, drawn with its weight."""
    return random.choices(list(weights), list(weights.values()))[0]


class Section:
    """Fields that belong together, each with the text that says what it is; checked when a recipe is made.

    Weights that are left out are 0.
    """

    def __post_init__(self) -> None:
        for each in fields(self):  # type: ignore[arg-type]
            where, value = f"[{_title(type(self))}] {each.name}", getattr(self, each.name)
            if isinstance(value, Mapping):
                names = tuple(each.default_factory())  # type: ignore[operator]
                _check_weights(where, value, names)
                object.__setattr__(self, each.name, {name: value.get(name, 0.0) for name in names})
            elif isinstance(value, (int, float)) and not 0 <= value <= 1:
                raise WrongInput(f"{where} is {value:g}; it is a share between 0 and 1.")


def _title(section: type[Section]) -> str:
    return section.__name__.removesuffix("Recipe").lower()


def _check_weights(where: str, weights: Mapping[str, float], names: tuple[str, ...]) -> None:
    for name, weight in weights.items():
        if name not in names:
            raise WrongInput(f"{where} has no {name!r}; it has {', '.join(names)}.")
        if not (math.isfinite(weight) and weight >= 0):
            raise WrongInput(f"{where}: the weight of {name} is {weight:g}; weights are 0 or more.")
    if not sum(weights.values()) > 0:
        raise WrongInput(f"{where}: all weights are 0; give at least one of {', '.join(names)} more.")


@dataclass(frozen=True)
class SceneRecipe(Section):
    """What surrounds the cameras."""

    kinds: Annotated[Mapping[str, float], "A room; open ground under the sky; a single wall near the cameras."] = field(
        default_factory=lambda: {"room": 0.6, "outdoor": 0.25, "wall": 0.15}
    )


@dataclass(frozen=True)
class CameraRecipe(Section):
    """Both cameras."""

    fov_deg: Annotated[Range, "Horizontal field of view."] = Range(40, 100)
    center_shift: Annotated[Range, "Of the principal point from the middle, in widths, x and y."] = Range(
        -0.03, 0.03, "normal"
    )
    height_m: Annotated[Range, "Above the floor."] = Range(0.3, 2.0, "log")
    pitch_deg: Annotated[Range, "Positive looks up."] = Range(-20, 20, "normal")
    roll_deg: Annotated[Range, "Of the cameras, to either side."] = Range(-5, 5, "normal")
    largest_disparity: Annotated[
        Range, "Disparity of the nearest visible surface, in widths; the baseline follows from it."
    ] = Range(0.024, 0.30, "log")


@dataclass(frozen=True)
class RoomRecipe(Section):
    """Rooms."""

    size_m: Annotated[Range, "Width and length, one draw each."] = Range(3, 20, "log")
    height_m: Annotated[Range, "From floor to ceiling."] = Range(2.2, 5)
    nearest_m: Annotated[Range, "No object is nearer (the floor may be)."] = Range(0.4, 2.5, "log")
    ceiling: Annotated[float, "Rooms with a ceiling; others are open to the sky."] = 0.6
    open_side: Annotated[float, "Of rooms without a ceiling, those with a wall missing, per wall."] = 0.35
    shiny_floor: Annotated[float, "Rooms with a floor that mirrors."] = 0.12
    furniture: Annotated[Range, "How many pieces."] = Range(0, 6)
    furniture_kinds: Annotated[Mapping[str, float], "What pieces."] = field(
        default_factory=lambda: {
            "table": 0.28,
            "chair": 0.3,
            "shelf": 0.14,
            "cupboard": 0.12,
            "bed": 0.08,
            "column": 0.08,
        }
    )
    panels: Annotated[Range, "How many pictures, doors and boards on the walls."] = Range(0, 3)


@dataclass(frozen=True)
class OutdoorRecipe(Section):
    """Open ground."""

    nearest_m: Annotated[Range, "No object is nearer (the ground may be)."] = Range(0.8, 6, "log")
    farthest_m: Annotated[Range, "Of buildings, trees, poles and cars."] = Range(25, 90, "log")
    hills: Annotated[Range, "How many, up to 250 m away."] = Range(0, 4)
    uneven: Annotated[float, "Scenes with a rolling piece of ground."] = 0.2
    buildings: Annotated[Range, "How many."] = Range(0, 4)
    trees: Annotated[Range, "How many."] = Range(0, 5)
    cars: Annotated[Range, "How many."] = Range(0, 3)
    fences: Annotated[Range, "How many."] = Range(0, 2)
    poles: Annotated[Range, "How many single ones."] = Range(0, 3)
    wires: Annotated[float, "Scenes with a line of poles and wires."] = 0.3


@dataclass(frozen=True)
class WallRecipe(Section):
    """Single walls."""

    distance_m: Annotated[Range, "Along the middle of the view."] = Range(0.8, 6, "log")
    tilt_deg: Annotated[Range, "About the vertical and the horizontal, one draw each."] = Range(-55, 55, "normal")
    wavy: Annotated[float, "Walls with a height field in front."] = 0.5
    floor: Annotated[float, "Walls that stand on a floor."] = 0.3
    nearest: Annotated[Range, "No object is nearer than this share of the distance."] = Range(0.35, 0.8)


@dataclass(frozen=True)
class ClutterRecipe(Section):
    """Where objects are, and how many."""

    count: Annotated[Range, "How many."] = Range(6, 56)
    size: Annotated[
        Range, "Half of the largest side, in widths; the upper bound is a share of the smaller side of the picture."
    ] = Range(0.02, 0.45, "log")
    far_bias: Annotated[
        Range, "Inverse depth is far + (near - far) u^bias with u uniform in [0, 1]; 1 has no bias."
    ] = Range(0.8, 1.7)
    resting: Annotated[float, "Objects that stand on the floor or on furniture; the others float."] = 0.45
    on_furniture: Annotated[float, "Of those, the ones on furniture, if there is any to put them on."] = 0.5
    attitudes: Annotated[Mapping[str, float], "Of floating objects: upright, a little or anyhow turned."] = field(
        default_factory=lambda: {"upright": 0.4, "tilted": 0.35, "anyhow": 0.25}
    )


@dataclass(frozen=True)
class ShapesRecipe(Section):
    """What objects are."""

    kinds: Annotated[
        Mapping[str, float], "Objects. Blob, foliage, ring, lattice and card are flat, with cut-out outlines."
    ] = field(
        default_factory=lambda: {
            "box": 0.1,
            "round_box": 0.06,
            "ellipsoid": 0.08,
            "cylinder": 0.06,
            "cone": 0.04,
            "vase": 0.04,
            "bowl": 0.03,
            "torus": 0.05,
            "polyhedron": 0.11,
            "bar": 0.09,
            "wire": 0.04,
            "sticks": 0.05,
            "blob": 0.06,
            "foliage": 0.08,
            "ring": 0.04,
            "lattice": 0.05,
            "card": 0.04,
            "relief": 0.03,
        }
    )
    aspect: Annotated[Range, "Ratio of the sides, one draw per axis."] = Range(0.45, 2.2, "log")
    bar_width: Annotated[Range, "Of bars and sticks, in widths of the picture."] = Range(0.0014, 0.02, "log")
    wire_width: Annotated[Range, "Of wires, in widths of the picture."] = Range(0.0008, 0.004, "log")


@dataclass(frozen=True)
class MaterialsRecipe(Section):
    """What surfaces look like."""

    textures: Annotated[Range, "How many different ones a scene chooses from."] = Range(4, 60, "log")
    texel: Annotated[Range, "Width of a texel on the screen, in widths of the picture: 0.4 to 2 px at 768."] = Range(
        0.0005, 0.0026, "log"
    )
    turned: Annotated[float, "Textures that are turned on their surface, by up to 35 degrees."] = 0.33
    tinted: Annotated[float, "Textures with a gain per channel; the others have one for all."] = 0.3
    tint: Annotated[Range, "Gain per channel, on reflectance encoded with gamma 2."] = Range(0.5, 1.35)
    gain: Annotated[Range, "Gain of all channels."] = Range(0.7, 1.4)
    lift: Annotated[Range, "Added after the gain."] = Range(-0.1, 0.15)
    faint: Annotated[float, "Surfaces on which the texture can hardly be seen."] = 0.1
    faint_contrast: Annotated[Range, "Of those, against the texture's own."] = Range(0.03, 0.3, "log")
    shiny: Annotated[float, "Surfaces with highlights."] = 0.3
    specular: Annotated[Range, "Strength of highlights."] = Range(0.1, 0.8)
    shininess: Annotated[Range, "Exponent of highlights."] = Range(8, 120, "log")
    mirrors: Annotated[float, "Things that mirror."] = 0.03
    mirror: Annotated[Range, "Share of light that is mirrored."] = Range(0.15, 0.8)
    glasses: Annotated[float, "Things that are seen through; truth is their first surface."] = 0.02
    glass: Annotated[Range, "Share of light that passes."] = Range(0.3, 0.8)


@dataclass(frozen=True)
class LightRecipe(Section):
    """Lamp or sun."""

    strength: Annotated[Range, "Of all light, linear: at 1 a white surface that faces the lamp is white."] = Range(
        0.85, 1.9, "log"
    )
    ambient: Annotated[Range, "Share of light that comes from everywhere."] = Range(0.12, 0.45)
    warmth: Annotated[Range, "Red gains and blue loses that share."] = Range(-0.25, 0.5, "normal")
    tint: Annotated[Range, "Per channel."] = Range(0.93, 1.07, "normal")
    shadows: Annotated[float, "Scenes with shadows."] = 0.6
    dark: Annotated[float, "Scenes with a small part of the light."] = 0.05
    dark_strength: Annotated[Range, "That part."] = Range(0.12, 0.35, "log")
    glaring: Annotated[float, "Scenes with so much light that the picture saturates."] = 0.05
    glaring_strength: Annotated[Range, "How much more."] = Range(1.6, 2.8, "log")


@dataclass(frozen=True)
class SkyRecipe(Section):
    """What is seen where nothing is."""

    kinds: Annotated[Mapping[str, float], "Weather."] = field(
        default_factory=lambda: {"clear": 0.4, "overcast": 0.3, "dusk": 0.15, "night": 0.05, "studio": 0.1}
    )
    cloudy: Annotated[float, "Skies with clouds."] = 0.6
    clouds: Annotated[Range, "Their strength."] = Range(0.1, 0.9)


@dataclass(frozen=True)
class SensorRecipe(Section):
    """What the two cameras add, and by how much the right one differs."""

    blur: Annotated[Range, "Standard deviation, in widths of the picture."] = Range(0.0002, 0.0009, "log")
    soft: Annotated[float, "Pairs that are out of focus."] = 0.12
    soft_blur: Annotated[Range, "Of those."] = Range(0.0009, 0.0025)
    motion_blur: Annotated[float, "Pairs with a streak."] = 0.05
    streak: Annotated[Range, "Its length in widths."] = Range(0.002, 0.01, "log")
    exposure: Annotated[Range, "Gain on light."] = Range(0.75, 1.3, "log")
    gamma: Annotated[Range, "Of the picture: light to the power of 1 / gamma."] = Range(1.6, 2.7, "log")
    white_balance: Annotated[Range, "Per channel."] = Range(0.78, 1.22, "normal")
    vignetted: Annotated[float, "Pairs with dark corners."] = 0.3
    vignetting: Annotated[Range, "Share of light that is lost there."] = Range(0.05, 0.45)
    noise: Annotated[Range, "Standard deviation in the picture, 1 is white."] = Range(0.001, 0.02, "log")
    noisy: Annotated[float, "Pairs with much noise."] = 0.1
    much_noise: Annotated[Range, "Of those."] = Range(0.02, 0.035)
    grey: Annotated[float, "Pairs without colours."] = 0.12
    jpeg: Annotated[float, "Pairs that were compressed."] = 0.15
    jpeg_quality: Annotated[Range, "Of those, as libjpeg counts."] = Range(40, 95)
    differing: Annotated[float, "Pairs whose cameras differ in exposure, gamma, colour and black level."] = 0.55
    difference: Annotated[
        Range, "By how much: at 1, standard deviations are 18 % of exposure and gamma, 5 % of each colour."
    ] = Range(0.3, 2.0, "log")
    gradients: Annotated[float, "Pairs with light that falls off differently."] = 0.15
    gradient: Annotated[Range, "Relative, from the middle to an edge."] = Range(-0.6, 0.6, "normal")
    blurring: Annotated[float, "Pairs with a right picture of another blur."] = 0.3
    misaligned: Annotated[float, "Pairs that are not quite rectified."] = 0.4
    shift_y: Annotated[Range, "In widths of the picture; sigma is 0.4 px at 576."] = Range(-0.0014, 0.0014, "normal")
    roll_deg: Annotated[Range, "Of the right picture against the left one."] = Range(-0.12, 0.12, "normal")


@dataclass(frozen=True)
class MotionRecipe(Section):
    """Clips."""

    room_paths: Annotated[Mapping[str, float], "Of cameras in rooms and before walls."] = field(
        default_factory=lambda: {"still": 0.1, "hand_held": 0.6, "orbiting": 0.3, "driving": 0.0}
    )
    outdoor_paths: Annotated[Mapping[str, float], "Of cameras outdoors."] = field(
        default_factory=lambda: {"still": 0.1, "hand_held": 0.3, "orbiting": 0.1, "driving": 0.5}
    )
    shift: Annotated[Range, "Path of a walk or an orbit per second, as a share of the nearest depth."] = Range(
        0.05, 0.6, "log"
    )
    turn_deg_s: Annotated[Range, "Of a hand, pan and tilt, and of a drive's curve."] = Range(-12, 12, "normal")
    shake_m: Annotated[Range, "Standard deviation of a hand's place."] = Range(0.002, 0.02, "log")
    shake_deg: Annotated[Range, "Standard deviation of a hand's direction."] = Range(0.1, 1.2, "log")
    speed_m_s: Annotated[Range, "Of a drive; less where something stands in the way."] = Range(1, 12, "log")
    moving: Annotated[float, "Objects that move; furniture and buildings stay."] = 0.3
    moves: Annotated[Mapping[str, float], "How; an object may appear or leave, too."] = field(
        default_factory=lambda: {"translate": 0.4, "spin": 0.3, "sway": 0.2, "appear": 0.05, "leave": 0.05}
    )
    object_shift: Annotated[Range, "Path of an object per second, in widths of the picture."] = Range(0.02, 0.3, "log")
    object_turn_deg_s: Annotated[Range, "Of objects that spin."] = Range(5, 90, "log")
    period_s: Annotated[Range, "Of swaying."] = Range(0.8, 3, "log")


@dataclass(frozen=True)
class Recipe:
    """All distributions that `compose` draws from; `Recipe()` is the default, recipes/worlds.toml documents it."""

    scene: SceneRecipe = field(default_factory=SceneRecipe)
    camera: CameraRecipe = field(default_factory=CameraRecipe)
    room: RoomRecipe = field(default_factory=RoomRecipe)
    outdoor: OutdoorRecipe = field(default_factory=OutdoorRecipe)
    wall: WallRecipe = field(default_factory=WallRecipe)
    clutter: ClutterRecipe = field(default_factory=ClutterRecipe)
    shapes: ShapesRecipe = field(default_factory=ShapesRecipe)
    materials: MaterialsRecipe = field(default_factory=MaterialsRecipe)
    light: LightRecipe = field(default_factory=LightRecipe)
    sky: SkyRecipe = field(default_factory=SkyRecipe)
    sensor: SensorRecipe = field(default_factory=SensorRecipe)
    motion: MotionRecipe = field(default_factory=MotionRecipe)

    @classmethod
    def read(cls, path: str | PathLike[str]) -> "Recipe":
        """The default recipe with what a TOML file changes.

        `[camera]` `fov_deg = [50, 80]` replaces the bounds and keeps the kind of a range, `[50, 80, "log"]` replaces
        both, `60` fixes the number. Weights are merged: `kinds.torus = 0` leaves tori out and keeps the rest.

        Raises:
            WrongFile: no such file, no TOML, an unknown name or a value that cannot be.
        """
        try:
            return cls.from_toml(Path(path).read_text(encoding="utf-8"))
        except FileNotFoundError as error:
            raise WrongFile(f"There is no recipe {path}; `Recipe().to_toml()` writes one to start from.") from error
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            raise WrongFile(f"{path} is not a TOML file: {error}.") from error
        except WrongInput as error:
            raise WrongFile(f"{path}: {error}") from error

    @classmethod
    def from_toml(cls, text: str) -> "Recipe":
        """As `read`, of a text.

        Raises:
            WrongInput: an unknown name or a value that cannot be.
            tomllib.TOMLDecodeError: no TOML.
        """
        tables = tomllib.loads(text)
        known = {each.name: each.default_factory for each in fields(cls)}
        for name, table in tables.items():
            if name not in known:
                raise WrongInput(f"a recipe has no [{name}]; it has {', '.join(known)}.")
            if not isinstance(table, dict):
                raise WrongInput(f"{name} is a section; write [{name}] and its values below.")
        return cls(**{name: _changed(known[name](), table) for name, table in tables.items()})  # type: ignore[operator]

    def to_toml(self) -> str:
        """The whole recipe, each value below the text that says what it is."""
        lines = [
            "# What `depthweave worlds` draws its scenes from. Keep the lines that you change, leave out the rest.",
            '# [low, high, "kind"]: uniform, log (uniform in the logarithm) or normal (the bounds at two sigma);',
            "# [low, high] keeps the kind and one number fixes the value. Numbers by name are the weights of a choice.",
            "# Other numbers are probabilities. Sizes in the picture are shares of its width.",
        ]
        for each in fields(self):
            section = getattr(self, each.name)
            lines += ["", f"# {section.__doc__}", f"[{each.name}]"]
            for entry in fields(section):
                lines += [f"# {line}" for line in textwrap.wrap(get_args(entry.type)[1], 116)]
                lines += _lines(entry.name, getattr(section, entry.name))
        return "\n".join(lines) + "\n"


def _lines(name: str, value: Range | Mapping[str, float] | float) -> list[str]:
    if isinstance(value, Range):
        return [f'{name} = [{float(value.low)}, {float(value.high)}, "{value.kind}"]']
    if isinstance(value, Mapping):
        return [f"{name}.{choice} = {float(weight)}" for choice, weight in value.items()]
    return [f"{name} = {float(value)}"]


def _changed(section: Anything, table: Mapping[str, Any]) -> Anything:
    """The section with the values of a table in place of its own."""
    title, values = _title(type(section)), {each.name: getattr(section, each.name) for each in fields(section)}  # type: ignore[arg-type]
    for name, value in table.items():
        if name not in values:
            raise WrongInput(f"[{title}] has no {name!r}; it has {', '.join(values)}.")
        try:
            values[name] = _value(values[name], value)
        except WrongInput as error:
            raise WrongInput(f"[{title}] {name}: {error}") from error
    return type(section)(**values)


def _value(old: Range | Mapping[str, float] | float, new: Any) -> Range | Mapping[str, float] | float:
    match old, new:
        case Range(), [low, high]:
            return Range(_number(low), _number(high), old.kind)
        case Range(), [low, high, str(kind)]:
            return Range(_number(low), _number(high), kind)
        case Range(), [*_] | dict() | str():
            raise WrongInput(f'{new!r} is no range; write [low, high], [low, high, "kind"] or one number.')
        case Range(), _:
            return Range(_number(new), _number(new), old.kind)
        case Mapping(), dict():
            return {**old, **{name: _number(weight) for name, weight in new.items()}}
        case Mapping(), _:
            raise WrongInput(f"{new!r} is no choice; give weights by name, {next(iter(old))} = 0.5 and so on.")
    return _number(new)


def _number(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise WrongInput(f"{value!r} is not a number.")
    return float(value)
