"""Words for colours in class names, by the hue of ``edgestill.drawing.palette`` that they stand for."""

from __future__ import annotations

from collections.abc import Mapping

ENGLISH: Mapping[str, str] = {
    "red": "red",
    "orange": "orange",
    "yellow": "yellow",
    "amber": "yellow",
    "green": "green",
    "cyan": "cyan",
    "turquoise": "cyan",
    "teal": "cyan",
    "blue": "blue",
    "purple": "purple",
    "violet": "purple",
    "pink": "pink",
    "magenta": "pink",
    "brown": "brown",
    "black": "black",
    "white": "white",
    "grey": "grey",
    "gray": "grey",
    "silver": "grey",
}
#: States without a colour, as the last word of a name: ``off``, ``light_off``, but not ``off_road``.
OFF_WORDS = frozenset({"off", "unlit", "aus", "apagado", "éteint"})
#: German, French, Spanish, Italian, Russian.
OTHER_LANGUAGES: tuple[Mapping[str, str], ...] = (
    {"rot": "red", "gelb": "yellow", "grün": "green", "gruen": "green", "blau": "blue", "weiss": "white"},
    {"rouge": "red", "jaune": "yellow", "vert": "green", "bleu": "blue", "noir": "black", "blanc": "white"},
    {"rojo": "red", "amarillo": "yellow", "ámbar": "yellow", "verde": "green", "azul": "blue"},
    {"rosso": "red", "giallo": "yellow", "verde": "green", "blu": "blue"},
    {"красный": "red", "жёлтый": "yellow", "желтый": "yellow", "зелёный": "green", "зеленый": "green"},
)
#: Words of those languages that are English ones too (leaf rot): they count where another colour of the
#: language is among the classes.
AMBIGUOUS = frozenset({"rot", "vert", "noir", "blanc", "blu"})
#: Chinese and Japanese, which put no spaces between words.
WITHOUT_SPACES: Mapping[str, str] = {
    "红": "red",
    "紅": "red",
    "赤": "red",
    "黄": "yellow",
    "黃": "yellow",
    "绿": "green",
    "綠": "green",
    "緑": "green",
    "蓝": "blue",
    "藍": "blue",
}
