import torch

from depthweave import images


def test_guided_sources_keep_to_the_side_of_the_same_colour() -> None:
    """A border between two colours in the middle of a small pixel: the nearest rule is wrong by up to half of one."""
    picture = torch.zeros(3, 16, 32)
    picture[:, :, 14:] = 1.0
    small = torch.where(torch.arange(8) < 4, 1.0, 5.0).expand(4, 8)  # the map's border is at 16
    rows, columns = images.guided_sources(picture, 4, 8)
    found = small[rows, columns]
    assert bool((found[:, :14] == 1).all())
    assert bool((found[:, 15:] == 5).all())
    assert not bool((small.repeat_interleave(4, 1)[:, 14:16] == 5).any())


def test_guided_sources_of_one_colour_are_the_nearest() -> None:
    rows, columns = images.guided_sources(torch.full((3, 9, 12), 0.5), 3, 4)
    assert rows[:, 0].tolist() == [0, 0, 0, 1, 1, 1, 2, 2, 2]
    assert columns[0].tolist() == [0, 0, 0, 1, 1, 1, 2, 2, 2, 3, 3, 3]


def test_a_drawing_shows_the_cloud_in_its_colours_the_way_and_the_maps() -> None:
    points = torch.rand(400, 3, generator=torch.Generator().manual_seed(0)) + torch.tensor([0.0, 0.0, 1.0])
    colors = torch.tensor([[0, 0, 255]], dtype=torch.uint8).expand(400, 3)
    way = torch.tensor([[0.0, 0.0, 0.0], [0.5, 0.0, 0.0]])
    forward = torch.tensor([[0.0, 0.0, 1.0]]).expand(2, 3)
    tile = torch.full((4, 6, 3), 77, dtype=torch.uint8).numpy()
    drawn = images.draw_places(points, colors, way, forward, [("one", tile)], unit="m", title="clip")
    assert drawn.shape == (900, 1200, 3)
    blue = (drawn == (0, 0, 255)).all(-1)
    red = (drawn == (214, 39, 40)).all(-1)
    assert blue.sum() > 100
    assert red.sum() > 100
    assert (drawn == 77).all(-1).sum() > 1000
    # From above, z goes up: what lies ahead is above the camera.
    assert blue[:, :600].nonzero()[0].mean() < red[:560, :600].nonzero()[0].mean()


def test_a_drawing_without_points() -> None:
    nothing = torch.empty(0, 3)
    way = torch.zeros(1, 3)
    drawn = images.draw_places(nothing, None, way, torch.tensor([[0.0, 0.0, 1.0]]), [], unit="m", title="one")
    assert len(set(map(tuple, drawn.reshape(-1, 3)[::97].tolist()))) > 1
