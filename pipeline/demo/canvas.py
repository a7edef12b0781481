"""A square canvas in unit coordinates: (0, 0) is top left, (1, 1) is bottom right."""

from collections.abc import Sequence

from PIL import Image, ImageDraw

RESOLUTION = 160  # pixels per side; pictures are downscaled, which smooths their edges

Colour = tuple[int, int, int]
Point = tuple[float, float]

BLACK: Colour = (25, 25, 30)
WHITE: Colour = (245, 245, 240)
GREY: Colour = (130, 132, 138)
SKIN: Colour = (236, 190, 150)


class Canvas:
    """A transparent square with the shapes the pictures are made of."""

    def __init__(self) -> None:
        self.image = Image.new("RGBA", (RESOLUTION, RESOLUTION))
        self._draw = ImageDraw.Draw(self.image)

    def disc(self, centre: Point, radius: float, fill: Colour) -> None:
        """Draw a disc."""
        self.oval(centre, radius, radius, fill)

    def oval(self, centre: Point, half_width: float, half_height: float, fill: Colour) -> None:
        """Draw an axis-aligned ellipse."""
        (x, y) = centre
        box = [x - half_width, y - half_height, x + half_width, y + half_height]
        self._draw.ellipse(_pixels(box), fill=fill)

    def ring(self, centre: Point, radius: float, width: float, fill: Colour) -> None:
        """Draw the outline of a disc."""
        self.arc(centre, radius, 0, 360, width, fill)

    def arc(
        self, centre: Point, radius: float, start: float, end: float, width: float, fill: Colour
    ) -> None:
        """Draw an arc of a circle; angles are in degrees, clockwise from the right."""
        (x, y) = centre
        box = _pixels([x - radius, y - radius, x + radius, y + radius])
        self._draw.arc(box, start, end, fill=fill, width=_width(width))

    def box(self, left: float, top: float, right: float, bottom: float, fill: Colour) -> None:
        """Draw a rectangle with slightly rounded corners."""
        corners = _pixels([left, top, right, bottom])
        self._draw.rounded_rectangle(corners, radius=RESOLUTION * 0.02, fill=fill)

    def shape(self, points: Sequence[Point], fill: Colour) -> None:
        """Draw a polygon."""
        self._draw.polygon(_pixels([value for point in points for value in point]), fill=fill)

    def line(self, points: Sequence[Point], width: float, fill: Colour) -> None:
        """Draw a polyline."""
        flat = _pixels([value for point in points for value in point])
        self._draw.line(flat, fill=fill, width=_width(width), joint="curve")


def _pixels(values: Sequence[float]) -> list[float]:
    return [value * RESOLUTION for value in values]


def _width(width: float) -> int:
    return max(1, round(width * RESOLUTION))
