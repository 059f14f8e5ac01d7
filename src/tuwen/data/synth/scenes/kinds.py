"""The kinds of things in drawn scenes: eight forms and simple objects, each filling its box to all four sides."""

from __future__ import annotations

import math

from tuwen.data.synth.forms import FORMS, POLYGONS
from tuwen.data.synth.scenes.figures import Kind, Part, Polygon, arc, bar, body, both, eyes, holes, oval, shade, white


def _rays() -> Polygon:
    """A disc with twelve points."""
    points = []
    for step in range(24):
        radius, angle = (0.33 if step % 2 else 0.5), math.pi * step / 12
        points.append((0.5 + radius * math.cos(angle), 0.5 + radius * math.sin(angle)))
    return tuple(points)


def _petals(aspect: float) -> tuple[Polygon, ...]:
    """Six petals around a point near the top."""
    middle = 0.455 * aspect
    places = [
        (0.5 + 0.3 * math.cos(math.tau * n / 6), middle + 0.3 * aspect * math.sin(math.tau * n / 6)) for n in range(6)
    ]
    return tuple(oval(x - 0.2, y - 0.2 * aspect, x + 0.2, y + 0.2 * aspect) for x, y in places)


def _crescent() -> Polygon:
    """What a circle leaves of another one; both meet in the tips, 50° above and below the right of the larger."""
    tip_x, tip_y = math.cos(math.radians(50)), math.sin(math.radians(50))
    middle = 0.55
    radius, angle = math.hypot(tip_x - middle, tip_y), math.degrees(math.atan2(tip_y, tip_x - middle))
    outer = arc((-1, -1, 1, 1), 50, 310)
    inner = arc((middle - radius, -radius, middle + radius, radius), 360 - angle, angle)
    return tuple(((x + 1) / (1 + tip_x), (y + 1) / 2) for x, y in (*outer, *inner))


def _forms() -> tuple[Kind, ...]:
    measures = {"star": "颗", "heart": "颗"}
    parts = {name: body(polygon) for name, polygon in POLYGONS.items()}
    parts["circle"] = body(oval(0, 0, 1, 1))
    parts["ring"] = body(oval(0, 0, 1, 1)) + holes(oval(0.24, 0.24, 0.76, 0.76))
    plurals = {"cross": "crosses"}
    return tuple(
        Kind(form, plurals.get(form["en"], form["en"] + "s"), measures.get(form["en"], "个"), parts[form["en"]])
        for form in FORMS
    )


def _object(chinese: str, measure: str, english: str, parts: tuple[Part, ...], *, aspect: float = 1.0) -> Kind:
    plural = {"fish": "fish", "butterfly": "butterflies", "gift box": "gift boxes"}.get(english, english + "s")
    return Kind({"zh": chinese, "en": english}, plural, measure, parts, aspect)


_ROOF = ((0.0, 0.46), (0.5, 0.0), (1.0, 0.46))
_WHEELS = (oval(0.14, 0.62, 0.355, 1), oval(0.645, 0.62, 0.86, 1))
_SAILS = (((0.55, 0.04), (0.96, 0.58), (0.55, 0.58)), ((0.44, 0.14), (0.44, 0.58), (0.1, 0.58)))
_HULL = ((0.0, 0.66), (1.0, 0.66), (0.8, 1.0), (0.2, 1.0))
_HEAD = oval(0, 0.18, 1, 1)
_EARS = both(((0.03, 0.0), (0.42, 0.26), (0.05, 0.62)))
_LONG_EARS = both(oval(0.1, 0, 0.42, 0.62))

OBJECTS: tuple[Kind, ...] = (
    _object(
        "房子",
        "座",
        "house",
        body(_ROOF, bar(0.1, 0.44, 0.9, 1))
        + shade(_ROOF)
        + white(bar(0.42, 0.68, 0.6, 1), bar(0.18, 0.56, 0.34, 0.74), bar(0.68, 0.56, 0.84, 0.74)),
    ),
    _object(
        "树",
        "棵",
        "tree",
        body(oval(0, 0.22, 0.56, 0.72), oval(0.44, 0.22, 1, 0.72), oval(0.16, 0, 0.84, 0.58), bar(0.43, 0.6, 0.57, 1))
        + shade(bar(0.43, 0.7, 0.57, 1)),
        aspect=0.8,
    ),
    _object(
        "汽车",
        "辆",
        "car",
        body(
            ((0.18, 0.45), (0.33, 0), (0.69, 0), (0.86, 0.45)),
            bar(0.08, 0.4, 0.92, 0.84),
            oval(0, 0.4, 0.2, 0.84),
            oval(0.8, 0.4, 1, 0.84),
            *_WHEELS,
        )
        + white(
            ((0.27, 0.41), (0.37, 0.1), (0.49, 0.1), (0.49, 0.41)),
            ((0.54, 0.41), (0.54, 0.1), (0.66, 0.1), (0.77, 0.41)),
        )
        + shade(*_WHEELS)
        + white(oval(0.205, 0.74, 0.29, 0.89), oval(0.71, 0.74, 0.795, 0.89)),
        aspect=1.75,
    ),
    _object(
        "鱼",
        "条",
        "fish",
        body(oval(0, 0, 0.8, 1), ((0.66, 0.5), (1, 0.1), (1, 0.9)))
        + white(oval(0.12, 0.28, 0.26, 0.48))
        + shade(oval(0.165, 0.34, 0.215, 0.42), ((0.66, 0.5), (1, 0.1), (1, 0.9)))
        + white(((0.36, 0.2), (0.44, 0.5), (0.36, 0.8), (0.39, 0.5))),
        aspect=1.5,
    ),
    _object(
        "杯子",
        "个",
        "cup",
        body(oval(0.5, 0.12, 1, 0.76))
        + holes(oval(0.6, 0.26, 0.88, 0.62))
        + body(((0, 0), (0.76, 0), (0.69, 1), (0.07, 1)))
        + white(((0.02, 0.22), (0.745, 0.22), (0.735, 0.32), (0.03, 0.32))),
        aspect=1.15,
    ),
    _object(
        "太阳",
        "个",
        "sun",
        body(_rays()) + white(oval(0.24, 0.24, 0.76, 0.76)) + shade(oval(0.29, 0.29, 0.71, 0.71)),
    ),
    _object(
        "花",
        "朵",
        "flower",
        body(
            *_petals(0.75),
            oval(0.3, 0.19, 0.7, 0.49),
            bar(0.46, 0.5, 0.54, 1),
            oval(0.53, 0.74, 0.85, 0.88),
            oval(0.15, 0.79, 0.47, 0.93),
        )
        + shade(bar(0.46, 0.69, 0.54, 1), oval(0.53, 0.74, 0.85, 0.88), oval(0.15, 0.79, 0.47, 0.93))
        + white(oval(0.34, 0.22, 0.66, 0.46)),
        aspect=0.75,
    ),
    _object("月亮", "个", "moon", body(_crescent()), aspect=0.82),
    _object(
        "云",
        "朵",
        "cloud",
        body(
            oval(0, 0.42, 0.42, 1),
            oval(0.58, 0.42, 1, 1),
            oval(0.13, 0.14, 0.56, 0.9),
            oval(0.38, 0, 0.84, 0.84),
            bar(0.2, 0.62, 0.8, 1),
        ),
        aspect=1.6,
    ),
    _object("帆船", "艘", "boat", body(_HULL, bar(0.46, 0, 0.53, 0.68), *_SAILS) + shade(_HULL), aspect=1.1),
    _object(
        "雨伞",
        "把",
        "umbrella",
        body(arc((0, 0, 1, 1), 180, 360))
        + holes(*(oval(left, 0.43, left + 1 / 3, 0.6) for left in (0, 1 / 3, 2 / 3)))
        + body(bar(0.47, 0.3, 0.53, 0.88), arc((0.27, 0.74, 0.53, 1), 0, 180) + arc((0.33, 0.8, 0.47, 0.94), 180, 0))
        + shade(((0.335, 0.44), (0.5, 0.02), (0.665, 0.44), (0.6, 0.43), (0.5, 0.42), (0.4, 0.43))),
    ),
    _object(
        "气球",
        "个",
        "balloon",
        body(oval(0, 0, 1, 0.76), ((0.5, 0.7), (0.62, 0.83), (0.38, 0.83)), bar(0.465, 0.8, 0.535, 1))
        + white(oval(0.2, 0.12, 0.38, 0.32)),
        aspect=0.65,
    ),
    _object(
        "蘑菇",
        "个",
        "mushroom",
        body(((0.34, 0.4), (0.66, 0.4), (0.72, 1), (0.28, 1)), arc((0, 0, 1, 1.16), 180, 360))
        + shade(((0.34, 0.59), (0.66, 0.59), (0.72, 1), (0.28, 1)))
        + white(oval(0.16, 0.28, 0.32, 0.44), oval(0.42, 0.08, 0.6, 0.26), oval(0.68, 0.3, 0.84, 0.46)),
    ),
    _object(
        "苹果",
        "个",
        "apple",
        body(oval(0, 0.22, 0.62, 1), oval(0.38, 0.22, 1, 1), bar(0.46, 0.06, 0.53, 0.4), oval(0.52, 0, 0.82, 0.17))
        + shade(bar(0.46, 0.06, 0.53, 0.36), oval(0.52, 0, 0.82, 0.17))
        + white(oval(0.13, 0.38, 0.25, 0.6)),
        aspect=0.92,
    ),
    _object(
        "猫",
        "只",
        "cat",
        body(*_EARS, _HEAD)
        + eyes(0.21, 0.42, 0.39, 0.64)
        + white(
            ((0.44, 0.7), (0.56, 0.7), (0.5, 0.78)),
            *both(bar(0.06, 0.73, 0.28, 0.76)),
            *both(bar(0.1, 0.82, 0.3, 0.85)),
        ),
        aspect=1.1,
    ),
    _object(
        "兔子",
        "只",
        "rabbit",
        body(*_LONG_EARS, oval(0, 0.42, 1, 1))
        + white(*both(oval(0.2, 0.1, 0.32, 0.4)))
        + eyes(0.22, 0.58, 0.4, 0.72)
        + white(((0.43, 0.79), (0.57, 0.79), (0.5, 0.85))),
        aspect=0.7,
    ),
    _object(
        "鸟",
        "只",
        "bird",
        body(
            oval(0.12, 0.3, 0.8, 1),
            oval(0.52, 0, 0.88, 0.5),
            ((0.82, 0.15), (1, 0.27), (0.82, 0.38)),
            ((0.25, 0.6), (0, 0.34), (0, 0.72)),
        )
        + shade(((0.85, 0.17), (1, 0.27), (0.85, 0.37)), oval(0.26, 0.46, 0.62, 0.78))
        + white(oval(0.68, 0.12, 0.77, 0.24)),
        aspect=1.25,
    ),
    _object(
        "帽子",
        "顶",
        "hat",
        body(((0.23, 0), (0.77, 0), (0.72, 0.86), (0.28, 0.86)), oval(0, 0.66, 1, 1))
        + white(((0.262, 0.5), (0.738, 0.5), (0.728, 0.68), (0.272, 0.68))),
        aspect=1.35,
    ),
    _object(
        "瓶子",
        "个",
        "bottle",
        body(bar(0.3, 0, 0.7, 0.4), oval(0, 0.24, 1, 0.6), bar(0, 0.42, 1, 1))
        + shade(bar(0.3, 0, 0.7, 0.09))
        + white(bar(0.14, 0.55, 0.86, 0.8)),
        aspect=0.5,
    ),
    _object(
        "钥匙",
        "把",
        "key",
        body(oval(0, 0, 0.5, 1))
        + holes(oval(0.14, 0.28, 0.36, 0.72))
        + body(bar(0.46, 0.4, 1, 0.6), bar(0.76, 0.5, 0.84, 0.88), bar(0.91, 0.5, 1, 0.8)),
        aspect=1.9,
    ),
    _object(
        "椅子",
        "把",
        "chair",
        body(bar(0, 0, 0.16, 1), bar(0, 0.48, 1, 0.62), bar(0.84, 0.5, 1, 1), bar(0.1, 0.78, 0.9, 0.84)),
        aspect=0.65,
    ),
    _object(
        "台灯",
        "盏",
        "lamp",
        body(
            ((0.26, 0), (0.74, 0), (1, 0.5), (0, 0.5)),
            bar(0.45, 0.45, 0.55, 0.94),
            arc((0.14, 0.84, 0.86, 1.16), 180, 360),
        )
        + shade(bar(0.45, 0.5, 0.55, 0.9), arc((0.14, 0.84, 0.86, 1.16), 180, 360)),
        aspect=0.75,
    ),
    _object(
        "蝴蝶",
        "只",
        "butterfly",
        body(*both(oval(0, 0, 0.5, 0.6)), *both(oval(0.1, 0.46, 0.5, 1)), oval(0.44, 0.08, 0.56, 0.94))
        + white(*both(oval(0.12, 0.16, 0.32, 0.4)), *both(oval(0.22, 0.64, 0.38, 0.84)))
        + shade(oval(0.45, 0.08, 0.55, 0.94)),
        aspect=1.2,
    ),
    _object(
        "铃铛",
        "个",
        "bell",
        body(
            oval(0.43, 0, 0.57, 0.14),
            oval(0.18, 0.07, 0.82, 0.8),
            ((0.18, 0.42), (0.82, 0.42), (1, 0.84), (0, 0.84)),
            oval(0.38, 0.74, 0.62, 1),
        )
        + white(((0.075, 0.67), (0.925, 0.67), (0.955, 0.74), (0.045, 0.74)))
        + shade(arc((0.38, 0.68, 0.62, 1), 0, 180)),
        aspect=0.9,
    ),
    _object(
        "旗子",
        "面",
        "flag",
        body(bar(0, 0, 0.09, 1), ((0.09, 0.03), (1, 0.03), (0.8, 0.31), (1, 0.59), (0.09, 0.59)))
        + shade(bar(0, 0, 0.09, 1)),
        aspect=0.9,
    ),
    _object(
        "皇冠",
        "顶",
        "crown",
        body(((0, 0.1), (0.26, 0.5), (0.5, 0), (0.74, 0.5), (1, 0.1), (0.92, 1), (0.08, 1)))
        + white(bar(0.09, 0.74, 0.91, 0.82), oval(0.45, 0.44, 0.55, 0.58)),
        aspect=1.3,
    ),
    _object(
        "礼盒",
        "个",
        "gift box",
        body(bar(0.06, 0.4, 0.94, 1), bar(0, 0.27, 1, 0.48), oval(0.16, 0, 0.52, 0.3), oval(0.48, 0, 0.84, 0.3))
        + white(oval(0.25, 0.08, 0.43, 0.22), oval(0.57, 0.08, 0.75, 0.22))
        + shade(bar(0, 0.27, 1, 0.48))
        + white(bar(0.44, 0.27, 0.56, 1)),
        aspect=0.95,
    ),
    _object(
        "书",
        "本",
        "book",
        body(
            (
                (0, 0.08),
                (0.25, 0),
                (0.5, 0.12),
                (0.75, 0),
                (1, 0.08),
                (1, 0.93),
                (0.75, 0.87),
                (0.5, 1),
                (0.25, 0.87),
                (0, 0.93),
            )
        )
        + white(
            bar(0.485, 0.13, 0.515, 0.98),
            *both(((0.1, 0.25), (0.25, 0.2), (0.4, 0.27), (0.4, 0.34), (0.25, 0.27), (0.1, 0.32))),
            *both(((0.1, 0.47), (0.25, 0.42), (0.4, 0.49), (0.4, 0.56), (0.25, 0.49), (0.1, 0.54))),
        ),
        aspect=1.3,
    ),
)
KINDS: tuple[Kind, ...] = (*_forms(), *OBJECTS)
