"""A rectified stereo pair."""

from dataclasses import dataclass
from os import PathLike
from pathlib import Path

from jaxtyping import Float
from torch import Tensor

from depthweave import images
from depthweave.errors import WrongInput
from depthweave.types.camera import Camera
from depthweave.types.picture import Picture, picture_array, read_picture, source_name

SMALLEST_SIDE_PX = 16


@dataclass(frozen=True, eq=False)
class StereoPair:
    """Two pictures whose rows correspond, left first, and the camera of the left one.

    Attributes:
        left, right: (3, h, w) in [0, 1], of one size, at least 16 px on each side.
        camera: of the left picture, with the baseline; None if the pair is not calibrated.
        name: for result folders and tables.
        sources: where the pictures came from, for error sentences.
    """

    left: Float[Tensor, "3 h w"]
    right: Float[Tensor, "3 _ _"]
    camera: Camera | None = None
    name: str = "pair"
    sources: tuple[str, str] = ("the left picture", "the right picture")

    def __post_init__(self) -> None:
        left, right = (tuple(image.shape[-2:]) for image in (self.left, self.right))
        if left != right:
            raise WrongInput(
                f"{self.sources[0]} is {left[1]}x{left[0]} px but {self.sources[1]} is {right[1]}x{right[0]} px; "
                "give two rectified pictures of one size."
            )
        if min(left) < SMALLEST_SIDE_PX:
            raise WrongInput(
                f"{self.sources[0]} is {left[1]}x{left[0]} px, too small to match; "
                f"give pictures of at least {SMALLEST_SIDE_PX}x{SMALLEST_SIDE_PX} px."
            )
        if self.camera is not None and (self.camera.height, self.camera.width) != left:
            raise WrongInput(
                f"the calibration is for {self.camera.width}x{self.camera.height} px but {self.sources[0]} is "
                f"{left[1]}x{left[0]} px; use the calibration of this resolution, or camera.resized(height, width)."
            )

    @classmethod
    def read(
        cls,
        left: Picture,
        right: Picture,
        *,
        calibration: "str | PathLike[str] | tuple[str | PathLike[str], str | PathLike[str]] | Camera | None" = None,
        grey: bool = False,
        name: str | None = None,
    ) -> "StereoPair":
        """Read a pair from paths, PIL images, arrays or tensors.

        Args:
            left, right: pictures of 8 or 16 bit, grey or colour; see `read_picture`.
            calibration: a file (`Camera.read`), two files (a ROS pair) or a camera.
            grey: turn both pictures grey, which lets a grey one meet a colour one.
            name: by default the stem of the left path.

        Raises:
            WrongFile: a missing or damaged file.
            WrongInput: sizes that differ, a grey picture beside a colour one.
        """
        sources = (source_name(left, "the left picture"), source_name(right, "the right picture"))
        arrays = [picture_array(picture) for picture in (left, right)]
        colored = [array.ndim == 3 and array.shape[-1] > 2 for array in arrays]
        if colored[0] != colored[1] and not grey:
            kinds = ["colour" if c else "grey" for c in colored]
            raise WrongInput(
                f"{sources[0]} is {kinds[0]} but {sources[1]} is {kinds[1]}; "
                "give two pictures of one kind, or grey=True (--grey) to match both as grey."
            )
        tensors = [read_picture(array) for array in arrays]
        if grey:
            tensors = [images.luminance(tensor).expand(3, -1, -1).contiguous() for tensor in tensors]
        height, width = tensors[0].shape[-2:]
        if calibration is None or isinstance(calibration, Camera):
            camera = calibration
        elif isinstance(calibration, tuple):
            camera = Camera.read(calibration[0], right=calibration[1], width=width, height=height)
        else:
            camera = Camera.read(calibration, width=width, height=height)
        if name is None:
            name = Path(sources[0]).stem if sources[0] != "the left picture" else "pair"
        return cls(tensors[0], tensors[1], camera, name, sources)

    @property
    def height(self) -> int:
        """Rows."""
        return self.left.shape[-2]

    @property
    def width(self) -> int:
        """Columns."""
        return self.left.shape[-1]

    def mirrored(self) -> "StereoPair":
        """The pair as a mirror shows it: right becomes left, so that a matcher answers for the right picture."""
        return StereoPair(self.right.flip(-1), self.left.flip(-1), None, self.name, (self.sources[1], self.sources[0]))
