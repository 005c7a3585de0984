"""The French and the Spanish lexicon. Adjectives agree with their noun, so each value lists the same forms in the same order:
masculine, feminine, masculine plural, feminine plural."""

from clipcore.mining.lexicon import Lexicon


def _regular(masculine: str, feminine: str) -> tuple[str, ...]:
    return (masculine, feminine, f"{masculine}s", f"{feminine}s")


def _of_both(singular: str, plural: str) -> tuple[str, ...]:
    return (singular, singular, plural, plural)


def _number(**words: str) -> dict[str, tuple[str, ...]]:
    return {value: (word,) for value, word in words.items()}


FRENCH = Lexicon(
    "fr",
    words={
        "colour": {
            "red": _of_both("rouge", "rouges"),
            "yellow": _of_both("jaune", "jaunes"),
            "green": _regular("vert", "verte"),
            "blue": _regular("bleu", "bleue"),
            "black": _regular("noir", "noire"),
            "white": _regular("blanc", "blanche"),
            "grey": ("gris", "grise", "gris", "grises"),
            "purple": ("violet", "violette", "violets", "violettes"),
            "pink": _of_both("rose", "roses"),
        },
        "number": _number(
            two="deux",
            three="trois",
            four="quatre",
            five="cinq",
            six="six",
            seven="sept",
            eight="huit",
            nine="neuf",
            ten="dix",
        ),
        "size": {"big": _regular("grand", "grande"), "small": _regular("petit", "petite")},
        "shade": {
            "dark": (*_regular("foncé", "foncée"), "sombre"),
            "medium": ("moyen", "moyenne", "moyennement"),
            "light": _regular("clair", "claire"),
        },
        "gender": {
            "female": ("femme", "femmes", "fille", "filles"),
            "male": ("homme", "hommes", "garçon", "garçons"),
        },
        "side": {"left": ("gauche",), "right": ("droite",)},
        "level": {"above": ("sur",), "below": ("sous",)},
        "depth": {"front": ("devant",), "behind": ("derrière",)},
        "openness": {"open": _regular("ouvert", "ouverte"), "closed": _regular("fermé", "fermée")},
    },
    swaps=("sur", "sous", "devant", "derrière"),
    negation=(("avec", "sans"), ("sans", "avec"), ("est", "n'est pas"), ("sont", "ne sont pas")),
    articles=frozenset(["un", "une", "des", "le", "la", "les"]),
    denials=frozenset(["pas", "sans", "aucun", "aucune", "jamais"]),
    compared_only=frozenset(["shade", "gender"]),
    small=frozenset(
        [
            "sur",
            "sous",
            "dans",
            "à",
            "au",
            "aux",
            "de",
            "du",
            "des",
            "d",
            "en",
            "par",
            "pour",
            "avec",
            "sans",
            "et",
            "ou",
            "mais",
            "devant",
            "derrière",
            "entre",
            "vers",
            "chez",
            "est",
            "sont",
            "était",
            "qui",
        ]
    ),
    also_nouns=frozenset(["rose", "roses", "sous", "violet", "violette", "violettes"]),
    agreement={
        **dict.fromkeys(("un", "le", "du", "au"), (0,)),
        **dict.fromkeys(("une", "la"), (1,)),
        **dict.fromkeys(("des", "les", "aux"), (2, 3)),
    },
)

SPANISH = Lexicon(
    "es",
    words={
        "colour": {
            "red": _regular("rojo", "roja"),
            "yellow": _regular("amarillo", "amarilla"),
            "green": _of_both("verde", "verdes"),
            "blue": _of_both("azul", "azules"),
            "black": _regular("negro", "negra"),
            "white": _regular("blanco", "blanca"),
            "grey": _of_both("gris", "grises"),
            "purple": _regular("morado", "morada"),
            "pink": _of_both("rosa", "rosas"),
        },
        "number": _number(
            two="dos",
            three="tres",
            four="cuatro",
            five="cinco",
            six="seis",
            seven="siete",
            eight="ocho",
            nine="nueve",
            ten="diez",
        ),
        "size": {
            "big": _of_both("grande", "grandes"),
            "small": ("pequeño", "pequeña", "pequeños", "pequeñas"),
        },
        "shade": {
            "dark": _regular("oscuro", "oscura"),
            "medium": _regular("medio", "media"),
            "light": _regular("claro", "clara"),
        },
        "gender": {
            "female": ("mujer", "mujeres", "niña", "niñas"),
            "male": ("hombre", "hombres", "niño", "niños"),
        },
        "side": {"left": ("izquierda",), "right": ("derecha",)},
        "level": {"above": ("sobre",), "below": ("bajo",)},
        "openness": {"open": _regular("abierto", "abierta"), "closed": _regular("cerrado", "cerrada")},
    },
    swaps=("sobre", "bajo", "delante de", "detrás de"),
    negation=(
        ("con", "sin"),
        ("sin", "con"),
        ("es", "no es"),
        ("son", "no son"),
        ("está", "no está"),
        ("están", "no están"),
    ),
    articles=frozenset(["un", "una", "unos", "unas", "el", "la", "los", "las"]),
    denials=frozenset(["no", "sin", "ningún", "ninguna", "nunca"]),
    compared_only=frozenset(["shade", "gender"]),
    small=frozenset(
        [
            "sobre",
            "bajo",
            "en",
            "a",
            "al",
            "de",
            "del",
            "por",
            "para",
            "con",
            "sin",
            "y",
            "e",
            "o",
            "u",
            "pero",
            "ante",
            "tras",
            "entre",
            "hacia",
            "hasta",
            "desde",
            "es",
            "son",
            "está",
            "están",
            "era",
            "que",
        ]
    ),
    also_nouns=frozenset(["rosa", "rosas", "sobre", "bajo"]),
    agreement={
        **dict.fromkeys(("un", "el", "del", "al"), (0,)),
        **dict.fromkeys(("una", "la"), (1,)),
        **dict.fromkeys(("unos", "los"), (2,)),
        **dict.fromkeys(("unas", "las"), (3,)),
    },
)
