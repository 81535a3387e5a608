"""Words for the hops of real questions that give no name away.

`KINDS` says of a relation what kind of thing it leads to; `SIGNS` are plain words for types and
properties, which pages show in small letters. Lists are short on purpose: a relation that is not
here is told in its own words, and a page without a sign gives no keyword.
"""

from __future__ import annotations

_PERSON = """
director producer performer composer author creator screenwriter editor presenter founder inventor
father mother parent spouse husband wife child son daughter sibling brother sister student teacher
head-of-government head-of-state chairperson winner cast-member founded-by
lyrics-by architect painter president
"""
_PLACE = """
place-of-birth place-of-death place-of-burial country country-of-citizenship country-of-origin
location headquarters-location capital continent residence shares-border-with
located-in-the-administrative-territorial-entity located-in applies-to-jurisdiction state city
county town district
"""
_DATE = """
date-of-birth date-of-death publication-date inception start-time end-time point-in-time
dissolved-abolished-or-demolished-date
"""
_GROUP = """
educated-at employer member-of-sports-team record-label publisher production-company manufacturer
member-of member-of-political-party distributor developer owned-by parent-organization league
"""


def _labels(text: str, kind: str) -> dict[str, str]:
    return {label.replace("-", " "): kind for label in text.split()}


KINDS: dict[str, str] = (
    _labels(_PERSON, "a person")
    | _labels(_PLACE, "a place")
    | _labels(_DATE, "a date")
    | _labels(_GROUP, "an organisation")
    | {"award received": "an award", "cause of death": "a cause", "occupation": "a trade"}
)
"""Relation -> the kind of thing it leads to."""

NOUNS: dict[str, str] = {
    "applies to jurisdiction": "jurisdiction",
    "award received": "award",
    "country of citizenship": "home country",
    "date of birth": "birthday",
    "educated at": "school",
    "followed by": "successor",
    "founded by": "founder",
    "headquarters location": "head office",
    "instance of": "kind",
    "located in": "place",
    "located in the administrative territorial entity": "district",
    "lyrics by": "writer of the words",
    "member of": "group",
    "member of political party": "party",
    "member of sports team": "team",
    "named after": "source of the name",
    "owned by": "owner",
    "part of": "larger whole",
    "place of birth": "birthplace",
    "position held": "office",
    "publication date": "date of publication",
    "shares border with": "neighbour",
}
"""Relations in words that can stand behind "the". Pages are called Place of birth, so that those
words would be a name."""

_SIGNS = """
born died married wife husband son daughter father mother brother sister family buried
directed produced written starring stars composed performed recorded sung created designed
founded established opened built located published released premiered won awarded elected
appointed educated graduated studied played plays signed traded
film films movie drama comedy western documentary animated silent sequel series television
episode song single album band singer songwriter musician rapper composer lyrics label opera
actor actress director producer screenwriter writer author novel novelist poet book magazine
newspaper journalist painter artist architect scientist physicist professor politician
president minister governor senator king queen emperor prince bishop lawyer activist soldier
officer explorer footballer player coach team club league season championship tournament
company corporation manufacturer brand organization association party university college
school institute museum city town village county district province state country capital
region island river lake mountain waterfall border population municipality commune airport
railway station bridge church language religion battle war treaty army species genus family
disease symptoms award prize medal record
"""
SIGNS: frozenset[str] = frozenset(_SIGNS.split())
"""Plain words for types and properties; none of them is a name."""


_THINGS = """
film series album song band novel book magazine newspaper company club team school college
university museum city town village county district country river lake mountain island party
singer songwriter musician rapper composer actor actress director producer writer author
politician footballer player coach artist painter architect scientist genus species language
church battle treaty award opera airport league
"""
THINGS: frozenset[str] = frozenset(_THINGS.split())
"""What a page can be of: those signs that say what something is."""

_PLAIN = """
a an the of in on at to for from by with and or is are was were be been did do does has have had
who whom whose which what when where how many much long old kind type name named called term
first last same other own most usual average number people person place year date time day
"""
PLAIN: frozenset[str] = frozenset(_PLAIN.split())
"""Words of any question."""


def kind_of(relation: str) -> str:
    """The kind of thing that a relation leads to; "" where the table does not say."""
    return KINDS.get(" ".join(relation.lower().split()), "")


def noun_of(relation: str) -> str:
    """A relation in words that can stand behind "the"."""
    return NOUNS.get(" ".join(relation.lower().split()), relation)
