"""Every word of the atlas world. The text is split at spaces: one word is one token."""

from __future__ import annotations

REGIONS = ("north", "south", "east", "west", "coast", "moor")

RELATIONS = {
    "employer": "PF",
    "guild": "PF",
    "home": "PT",
    "mentor": "PP",
    "seat": "FT",
    "owner": "FP",
    "mayor": "TP",
    "mill": "TF",
}
"""Relation -> type of its subject and type of its object (P person, F firm, T town)."""

_SIGN_TEXT = (
    "lamp moss flint kiln reed bell rope slate thorn cedar amber wolf "
    "harp loom anvil quill crow barley copper salt tide yarn plum drum"
)
SIGNS = tuple(_SIGN_TEXT.split())

_NAME_TEXT = (
    "gera banok buzur dolen ritit tubot gafan nemuk reber kezol vafus nefat bodik zekil fidin "
    "zuras notek mapon narit kamal luril lituk kiket detir zinol soder lebon foruz dozul pulat "
    "bilum sizon vilen zanut kisir tatol ruvim regik lokot zemot rulol rupen sumor kobin nifok "
    "nunum tirim panin sufak vorum tozor vakam vokel baten mobat pasom dibus malur sukus rekas "
    "gizis tofem bazas burem"
)
NAMES = tuple(_NAME_TEXT.split())
"""64 pronounceable names, in no meaningful order. A world deals them anew, so they mean nothing."""

ROUTE_LETTERS = ("a", "b", "c")

ELEMENTS = (
    "imaginary",
    "keyword",
    "analysis",
    "confidence",
    "think",
    "search",
    "answer",
    "information",
)
TAGS = tuple(tag for name in ELEMENTS for tag in (f"<{name}>", f"</{name}>"))
CONTROL = ("<pad>", "<bos>", "<eos>", "<unk>")

_FORMAT_TEXT = (
    "of gone reply stuck links open spare none stale kept burnt plain foresight in % : ; ,"
)


def vocabulary() -> list[str]:
    """All tokens, each once, in a fixed order: control, tags, grammar, numerals, world, names."""
    numerals = [str(n) for n in range(10)] + [str(n) for n in range(10, 101, 5)]
    words = [*CONTROL, *TAGS, *_FORMAT_TEXT.split(), *numerals, *ROUTE_LETTERS]
    words += [*REGIONS, *RELATIONS, *SIGNS, *NAMES]
    assert len(set(words)) == len(words), "a word stands for two things"
    return words
