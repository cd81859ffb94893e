"""Drawing what things look like: materials, light, sky and sensors."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from random import Random

from depthweave.worlds.recipe import LightRecipe, MaterialsRecipe, Range, SensorRecipe, SkyRecipe, choose
from depthweave.worlds.scene import Light, Material, Sky
from depthweave.worlds.sensor import Sensor
from depthweave.worlds.shapes import Vector

TILE_TEXELS = 256
"""Width of a tile."""


@dataclass(frozen=True)
class Wardrobe:
    """Draws materials.

    Attributes:
        random: drawn from.
        recipe: of materials.
        textures: numbers of tiles.
    """

    random: Random
    recipe: MaterialsRecipe
    textures: Sequence[int]

    def draw(self, picture_m: float, *, mirror: float = 0.0, glass: float = 0.0) -> Material:
        """One material.

        Args:
            picture_m: width of the picture where the surface is, for the size of the tile.
            mirror, glass: as in `Material`.
        """
        random, recipe = self.random, self.recipe
        if random.random() < recipe.tinted:
            gain = (recipe.tint.draw(random), recipe.tint.draw(random), recipe.tint.draw(random))
        else:
            gain = (recipe.gain.draw(random),) * 3
        lift = (recipe.lift.draw(random),) * 3
        if random.random() < recipe.faint:
            contrast = recipe.faint_contrast.draw(random)
            level = random.uniform(0.1, 0.9) * (1 - contrast)
            lift = (lift[0] + gain[0] * level, lift[1] + gain[1] * level, lift[2] + gain[2] * level)
            gain = (gain[0] * contrast, gain[1] * contrast, gain[2] * contrast)
        shiny = random.random() < recipe.shiny
        return Material(
            texture=random.choice(self.textures),
            size_m=recipe.texel.draw(random) * TILE_TEXELS * picture_m,
            turn_rad=random.uniform(-0.6, 0.6) if random.random() < recipe.turned else 0.0,
            shift=(random.random(), random.random()),
            gain=gain,
            lift=lift,
            specular=recipe.specular.draw(random) if shiny else 0.0,
            shininess=recipe.shininess.draw(random) if shiny else 30.0,
            mirror=mirror,
            glass=glass,
        )

    def draw_set(self, picture_m: float, count: int) -> tuple[Material, ...]:
        """Materials of one thing; a few things mirror or are of glass."""
        random, recipe, mirror, glass = self.random, self.recipe, 0.0, 0.0
        if random.random() < recipe.mirrors:
            mirror = recipe.mirror.draw(random)
        elif random.random() < recipe.glasses:
            glass = recipe.glass.draw(random)
        return tuple(self.draw(picture_m, mirror=mirror, glass=glass) for _ in range(count))


def draw_light(random: Random, recipe: LightRecipe, position: Vector) -> Light:
    """A lamp or sun at a position."""
    strength, ambient = recipe.strength.draw(random), recipe.ambient.draw(random)
    kind = random.random()
    if kind < recipe.dark:
        strength *= recipe.dark_strength.draw(random)
    elif kind < recipe.dark + recipe.glaring:
        strength *= recipe.glaring_strength.draw(random)
    warmth = recipe.warmth.draw(random)
    color = _tinted(random, recipe.tint, (1 + warmth, 1.0, 1 - warmth), strength * (1 - ambient))
    # What comes from everywhere has a part of the lamp's colour.
    haze = _tinted(random, recipe.tint, (1 + 0.4 * warmth, 1.0, 1 - 0.4 * warmth), strength * ambient)
    return Light(position, color, haze, shadows=random.random() < recipe.shadows)


def _tinted(random: Random, tint: Range, color: Vector, strength: float) -> Vector:
    return (
        color[0] * tint.draw(random) * strength,
        color[1] * tint.draw(random) * strength,
        color[2] * tint.draw(random) * strength,
    )


SKIES: Mapping[str, tuple[Vector, Vector]] = {
    "clear": ((0.16, 0.36, 0.78), (0.62, 0.76, 0.92)),
    "overcast": ((0.68, 0.72, 0.78), (0.86, 0.88, 0.9)),
    "dusk": ((0.14, 0.16, 0.36), (0.9, 0.5, 0.28)),
    "night": ((0.006, 0.009, 0.025), (0.03, 0.035, 0.05)),
    "studio": ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5)),
}
"""Zenith and horizon, linear light."""


def draw_sky(random: Random, recipe: SkyRecipe, textures: Sequence[int]) -> Sky:
    """A sky of some weather."""
    zenith, horizon = SKIES[choose(random, recipe.kinds)]
    strength, tint = math.exp(random.gauss(0, 0.3)), Range(0.85, 1.15)
    return Sky(
        zenith=_tinted(random, tint, zenith, strength),
        horizon=_tinted(random, tint, horizon, strength),
        texture=random.choice(textures),
        clouds=recipe.clouds.draw(random) if random.random() < recipe.cloudy else 0.0,
    )


def draw_sensors(random: Random, recipe: SensorRecipe, width: int) -> tuple[Sensor, Sensor]:
    """The sensors of the left and of the right camera.

    Args:
        random: drawn from.
        recipe: of sensors.
        width: of the picture in px.
    """
    soft, noisy = random.random() < recipe.soft, random.random() < recipe.noisy
    noise = (recipe.much_noise if noisy else recipe.noise).draw(random)
    left = Sensor(
        exposure=recipe.exposure.draw(random),
        white_balance=_tinted(random, recipe.white_balance, (1.0, 1.0, 1.0), 1.0),
        gamma=recipe.gamma.draw(random),
        vignetting=recipe.vignetting.draw(random) if random.random() < recipe.vignetted else 0.0,
        blur_px=(recipe.soft_blur if soft else recipe.blur).draw(random) * width,
        # With gamma 2 the standard deviation of the picture is half of this one.
        shot_noise=2 * noise,
        read_noise=0.1 * noise,
        grey=random.random() < recipe.grey,
    )
    if random.random() < recipe.motion_blur:
        left = replace(
            left, motion_blur_px=recipe.streak.draw(random) * width, motion_blur_rad=random.uniform(0, math.pi)
        )
    if random.random() < recipe.jpeg:
        left = replace(left, jpeg_quality=recipe.jpeg_quality.draw_count(random))
    return left, _differing(random, recipe, left, width)


def _differing(random: Random, recipe: SensorRecipe, left: Sensor, width: int) -> Sensor:
    right = left
    if random.random() < recipe.differing:
        much = recipe.difference.draw(random)
        red, green, blue = left.white_balance
        right = replace(
            right,
            exposure=left.exposure * math.exp(random.gauss(0, 0.18 * much)),
            gamma=left.gamma * math.exp(random.gauss(0, 0.18 * much)),
            white_balance=(
                red * math.exp(random.gauss(0, 0.05 * much)),
                green * math.exp(random.gauss(0, 0.05 * much)),
                blue * math.exp(random.gauss(0, 0.05 * much)),
            ),
            offset=random.gauss(0, 0.03 * much),
            shot_noise=left.shot_noise * random.uniform(0.8, 1.3),
        )
    if random.random() < recipe.gradients:
        right = replace(right, gradient=(recipe.gradient.draw(random), recipe.gradient.draw(random)))
    if random.random() < recipe.blurring:
        right = replace(right, blur_px=left.blur_px * random.uniform(0.7, 1.5))
    if random.random() < recipe.misaligned:
        shift, roll = recipe.shift_y.draw(random) * width, math.radians(recipe.roll_deg.draw(random))
        right = replace(right, shift_y_px=shift, roll_rad=roll)
    return right
