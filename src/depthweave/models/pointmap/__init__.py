"""Networks that turn two pictures into a point for every pixel of both, in the first picture's camera."""
