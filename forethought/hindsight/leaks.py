"""Does a block tell what cannot be known when it is written?

A block written in hindsight may name the coming results, copy them, or speak of the future as of
something given. Such a block teaches to look things up in a future that is not there at test time.
The filters see state, future and accepted answers; each reason has a code:

* `answer`   an accepted answer stands in the block and not in the state; a digit or a yes counts
  as one in the keywords and in the roadmap
* `entity`   a name or a number of the future stands in the block and not in the state
* `overlap`  the block retells a result: ROUGE-L of 0.3 or more, or a stretch word by word
* `voice`    the block speaks of a given future ("the path shows", "ground truth", "verified")

Another spelling hides nothing: accents and case, numbers in words, dates in another format,
initials, a name split or run together (`forethought.hindsight.spellings`). Types, properties and
signs are what a block is for; they are no entities unless they are in the lexicon that texts
without capitals need. The likelihood filter, which needs a model, is in
`forethought.hindsight.likelihood`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise

from forethought.foresight.grounding import contains, normalise
from forethought.hindsight.spellings import (
    DIGIT_WORDS,
    accented,
    dates,
    initialisms,
    initials,
    joins,
    long_names,
    plain,
    years,
)
from forethought.types import Foresight

CODES: dict[str, str] = {
    "answer": "an accepted answer stands in the block and not in the state",
    "entity": "a name or a number of the future stands in the block and not in the state",
    "overlap": "the block retells a coming observation",
    "voice": "the block speaks of a future that is already given",
}
"""Reasons of rejection, in the order in which they are given."""
ROUGE_LIMIT = 0.3
"""Blocks below this ROUGE-L F-measure (Lin 2004) with every coming observation pass."""
RUN_LIMIT, RUN_LEAST = 8, 4
"""A copy is half of a sentence in a row: at least 4 words, and never more than 8."""

SPLIT_LEAST = 5
"""Letters of a name that is looked for in pieces; shorter ones arise by chance."""
_DIGITS = frozenset("0123456789")

_CAPITAL = re.compile(r"[A-Z\u00c0-\u00de][\w'\u2019-]*")
_NUMBER = re.compile(r"(?<![\w.,-])\d[\d,]*(?:\.\d+)?(?![\w-])(?!\.\d)")
_SENTENCE_END = re.compile(r"(?:^|[.!?:;\n(]|--)[\s*#>-]*$")
_SENTENCES = re.compile(r"[.!?;\n]+")
_COMMON_TEXT = """
a an and are as at but by can could did do does first for from had has have he her here his how
however i if in into is it its later many may might more most new no not of on one or other our
second she should since so some such than that the their then there these they third this those
though to two under until was we were what when where which while who why will with would yes you
above according after against all along also although among another around ask based because before
behind below beside between beyond both called check compare currently despite directed during each
earlier eventually every expect featuring finally find following formerly founded get go identify
inside known like located look named near only originally outside over produced published read
released retrieve search see set several starring through today together toward unlike upon use via
within without written
january february march april may june july august september october november december monday
tuesday wednesday thursday friday saturday sunday
"""
_COMMON = frozenset(_COMMON_TEXT.split())
"""Capitalised for reasons of grammar or calendar, not as names."""
_KINDS_TEXT = """
actor actress airport album archive artist author award band battle book born bridge capital
castle century church city club college company country county court district doc document error
film game government group high history house institute island king lake language law library list
lord magazine minister mountain movie museum national newspaper novel page park party people
player president prime prize province queen region result river road school season series single
sir song south north east west state station street team temple title town university village war
woman world writer year
"""
_KINDS = frozenset(_KINDS_TEXT.split())
"""Kinds of things: capitals inside names, innocent alone."""
_CLOSED = frozenset({"yes", "no", "true", "false", "none", "unknown"})
_INNOCENT = re.compile(
    r"\b\d+\s+(?:results?|links?|steps?|hops?|pages?|facts?|calls?|look-?ups?|search(?:es)?)\s+"
    r"(?:(?:is|are|still)\s+)*(?:missing|open|left|needed|remain(?:s|ing)?)\b"
    r"|\b(?:yes\s*(?:or|/)\s*no|no\s*(?:or|/)\s*yes|true\s+or\s+false|false\s+or\s+true)\b"
    r"|\bno(?=\s+(?!(?:or|and|as|because|since|so|then|is|will)\b)[a-z])",
    re.IGNORECASE,
)
"""Counts of open steps, both of two answers, and "no" before a noun tell no short answer."""
_SAYS = (
    r"(?:show|reveal|confirm|contain|indicate|demonstrate|prove|establish|verif(?:y|ie))"
    r"(?:s|d|ed)?\b"
)
_GIVEN = r"(?:provided|given|known|shown|revealed|stated|presented)"
_WAS = r"(?:was|has\s+been|had\s+been)"
_VOICE = re.compile(
    r"\b(?:future|true|given|successful|verified|gold(?:en)?)\s+"
    r"(?:path|trajectory|rollout|transcript|continuation)\b"
    r"|\b(?:path|trajectory|rollout|transcript|continuation|future(?:\s+(?:\w+s|state|step|turn|"
    rf"action))?)\s+(?:(?:\w+ly|already)\s+)?{_SAYS}"
    r"|\bground[\s-]+truth\b|\bgold(?:en)?\s+(?:answer|label)\b|\bhindsight\b"
    r"|(?<!be )(?<!not )(?<!yet )(?<!to )\bverified\b"
    rf"|\b(?:final|correct|right|true|gold)\s+answer\s+(?:is|{_WAS})\s+(?:already\s+)?{_GIVEN}\b"
    rf"|\banswer\s+(?:is|{_WAS})\s+already\s+{_GIVEN}\b"
    # "until the answer is given" and "the answer is given by adding" are plans.
    r"|(?<!if the )(?<!once the )(?<!when the )(?<!until the )(?<!unless the )(?<!after the )"
    rf"(?<!before the )(?<!whether the )\banswer\s+(?:is\s+(?:provided|given|revealed)|{_WAS}\s+"
    rf"{_GIVEN})\b(?!\s+(?:by|as|after|once|when|if)\b)"
    rf"|\b(?:is|are|was|were)\s+(?:\w+ly\s+)?(?:found|{_GIVEN})\s+in\s+(?:the\s+)?future\b"
    r"|\b(?:presented|given|shown|provided)\s+as\s+(?:a\s+)?future\b"
    r"|(?<!any )(?<!a )(?<!each )(?<!every )\bgiven\s+(?:(?:the|these|those|this|all)\s+)*future\b"
    r"(?!\s+values?\b)|\b(?:knowing|seeing)\s+the\s+future\b"
    r"|\b(?:we|i)\s+(?:now\s+|already\s+)?know\s+(?:that\s+)?(?:the\s+)?(?:final\s+)?answer\b"
    r"|\bas\s+(?:shown|seen|revealed)\s+(?:later|afterwards|in\s+the\s+future)\b"
    r"|\b(?:it|this)\s+(?:later\s+)?turned\s+out\b|\bthe\s+(?:provided|given)\s+future\b",
    re.IGNORECASE,
)
_TOLD = (
    r"\b(?:answer|result|value|total|output|sum)\s*(?:is|was|of|:|=|equals|(?:will|must) be)\s*"
    r"[\"'(]*{alias}(?![\w-])"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class LeakVerdict:
    """Whether a block may be trained on, and which codes of `CODES` speak against it."""

    accepted: bool
    reasons: tuple[str, ...]


def check(
    state: str,
    future: Sequence[str],
    answers: Sequence[str],
    block: Foresight,
    entities: Iterable[str] | None = None,
) -> LeakVerdict:
    """Applies all filters that need no model.

    Args:
        state: all that stood in the context when the block was written.
        future: the observations that came later, in order.
        answers: accepted answers with their aliases.
        block: what was written.
        entities: names of a world whose text has no capitals; None = go by capitals alone.
    """
    foreign = {word for told in (*future, *answers) for word in accented(told)}
    state, future, answers = plain(state), [plain(o) for o in future], [plain(a) for a in answers]
    block = Foresight(
        roadmap=plain(block.roadmap),
        keywords=tuple(plain(keyword) for keyword in block.keywords),
        analysis=plain(block.analysis),
        q=block.q,
    )
    text = _block_text(block)
    found = {
        "answer": any(_tells_alias(block, text, state, alias) for alias in answers),
        "entity": bool(foreign & {*normalise(text)} - {*normalise(state)})
        or _tells_entity(text, state, [*future, *answers], tuple(entities or ())),
        "overlap": any(_retells(block, state, observation) for observation in future),
        "voice": _VOICE.search(text) is not None,
    }
    reasons = tuple(code for code in CODES if found[code])
    return LeakVerdict(accepted=not reasons, reasons=reasons)


def _block_text(block: Foresight) -> str:
    """All words of the block; its number is a label and tells nothing.

    A comma stands before the first keyword: a capital there is no sentence start.
    """
    keywords = "".join(f" , {keyword}" for keyword in block.keywords)
    return f"{block.roadmap}\n-{keywords}\n{block.analysis}"


def _tells_alias(block: Foresight, text: str, state: str, alias: str) -> bool:
    alias = alias.strip()
    flat = " ".join(normalise(alias))
    if not flat:
        return bool(alias) and alias in text and alias not in state
    spelt = (alias, DIGIT_WORDS[int(flat)]) if flat in _DIGITS else (alias,)
    told = "|".join(re.escape(form) for form in spelt)
    if re.search(_TOLD.format(alias=f"(?:{told})"), text, re.IGNORECASE):
        return True
    if contains(alias, state):
        return False
    if flat in _CLOSED or len(flat) == 1:
        return _names_short(block, alias, flat)
    if _NUMBER.fullmatch(alias):
        return _value(alias) in _numbers(text) - _numbers(state)
    if dates(alias) & (dates(text) - dates(state)) or contains(alias, text):
        return True
    return _hides((alias,), text, state, shortest_initials=2)


def _hides(names: Sequence[str], text: str, state: str, *, shortest_initials: int) -> bool:
    """True where the block has the initials of a name, or the name split or run together."""
    tokens = [normalise(name) for name in names if len(name) >= SPLIT_LEAST]
    mine, known = normalise(text), normalise(state)
    split = {"".join(t) for t in tokens} & (joins(mine) - joins(known))
    merged = {"".join(t) for t in tokens if len(t) > 1} & set(mine)
    if (split | merged) - set(known):
        return True
    told = initials(text, shortest=shortest_initials) - initials(state, shortest=2)
    whole = {letters for name in names for letters in initialisms(name)} if told else set()
    return any(t in whole or (len(t) > 2 and any(t in letters for letters in whole)) for t in told)


def _names_short(block: Foresight, alias: str, flat: str) -> bool:
    """True where a digit, a letter or a word such as yes is a keyword or a word of the roadmap.

    The analysis weighs chances and may count and doubt in such words.
    """
    forms = {flat, DIGIT_WORDS[int(flat)]} if flat in _DIGITS else {flat}
    if any(" ".join(normalise(keyword)) in forms for keyword in block.keywords):
        return True
    text = _INNOCENT.sub(" ", " ; ".join([block.roadmap, *block.keywords]))
    if flat.isdecimal():
        return flat in _numbers(text)
    # One letter in another case, and A at the head of a sentence, are words of their own.
    one_letter = len(flat) == 1 and flat.isalpha()
    article = r"(?!\s+[a-z])" if flat == "a" else ""
    pattern = rf"(?<![\w-]){re.escape(alias)}(?![\w-]){article}"
    return re.search(pattern, text, 0 if one_letter else re.IGNORECASE) is not None


def _tells_entity(text: str, state: str, later: Sequence[str], lexicon: Sequence[str]) -> bool:
    joined = "\n".join(later)
    if any(_newly(name, text, state, joined) for name in lexicon):
        return True
    numbers = {n for n in _numbers(joined) if len(n) > 1}  # single digits count links and steps
    if numbers & (_numbers(text) - _numbers(state)) or dates(joined) & (dates(text) - dates(state)):
        return True
    runs = _capital_runs(joined)
    pairs = dict.fromkeys(pair for run in runs for pair in _pairs(run))
    if any(contains(pair, text) and not contains(pair, state) for pair in pairs):
        return True
    small = set(re.findall(r"\b[a-z][\w'-]*", f"{state}\n{joined}")) | _KINDS
    heads = _sentence_heads(joined)
    if any(not contains(word, state) for word in _single_names(text, runs, small, heads)):
        return True
    words = {word for run in runs for word in run} - heads
    single = [word for word in words if word.lower() not in small]
    long = [name for name in long_names(joined) if not contains(name, state)]
    return _hides([*single, *pairs, *long], text, state, shortest_initials=3)


def _newly(name: str, text: str, state: str, later: str) -> bool:
    return contains(name, text) and contains(name, later) and not contains(name, state)


def _single_names(
    text: str, runs: Sequence[Sequence[str]], small: set[str], later_heads: set[str]
) -> list[str]:
    """Names of the future, one word each, that the block uses.

    A name is not among the `small` words, which state or future write small or which are kinds of
    things: the future's "University" does not make "a university" a leak. One that only begins
    sentences there must be a capital inside a sentence of the block. A part of a longer name must
    be a capital in the block, too; a name of one word counts however the block writes it, and so
    do the halves of a double name.
    """
    heads = {word.lower() for word in _sentence_heads(text)}
    written = {word.lower() for run in _capital_runs(text) for word in run}
    names: list[str] = []
    halves = [[part] for run in runs for word in run for part in _halves(word)]
    for run in [*runs, *halves]:
        for word in run:
            low = word.lower()
            if low in small:
                continue
            inside = low in written and low not in heads
            known = low in written if len(run) > 1 else word not in later_heads
            if inside or (known and contains(word, text)):
                names.append(word)
    return names


def _capital_runs(text: str) -> list[list[str]]:
    """Runs of capitalised words with nothing but a blank between them, common words left out."""
    runs: list[list[str]] = []
    last_end = -2
    for found in _CAPITAL.finditer(text):
        if found.start() and text[found.start() - 1].isalnum():
            continue
        word = re.sub(r"['\u2019]s$", "", found[0])
        if word.lower() in _COMMON or len(word) == 1:
            continue
        if found.start() == last_end + 1 and text[last_end] == " ":
            runs[-1].append(word)
        else:
            runs.append([word])
        last_end = found.end()
    return runs


def _halves(word: str) -> list[str]:
    """Szoke, Varga of Szoke-Varga; nothing of Anglo-saxon and of a plain word."""
    parts = word.split("-")
    return parts if len(parts) > 1 and all(part[:1].isupper() for part in parts) else []


def _pairs(run: list[str]) -> list[str]:
    """Neighbouring words of a name; two kinds of things are no name ("World War")."""
    return [f"{a} {b}" for a, b in pairwise(run) if not {a.lower(), b.lower()} <= _KINDS]


def _sentence_heads(text: str) -> set[str]:
    """Capitalised words that only ever stand at the start of a sentence, an item or a line.

    A word behind a quotation mark is taken for a title, not for a start.
    """
    only: dict[str, bool] = {}
    for found in _CAPITAL.finditer(text):
        before = text[max(0, found.start() - 12) : found.start()]
        at_start = _SENTENCE_END.search(before) is not None
        only[found[0]] = only.get(found[0], True) and at_start
    return {word for word, always in only.items() if always}


def _numbers(text: str) -> set[str]:
    return {_value(found[0]) for found in _NUMBER.finditer(text)} | years(text)


def _value(number: str) -> str:
    """One spelling of a number: 1,234.50 -> 1234.5."""
    plain = number.replace(",", "")
    plain = plain.rstrip("0").rstrip(".") if "." in plain else plain
    return plain.lstrip("0") or "0"


def _retells(block: Foresight, state: str, observation: str) -> bool:
    """True where the block says much of an observation in its order, or a stretch of it as it is.

    Words that the state has, and the block's own keywords, count for its length and not as shared:
    a question's words come back in every answer, and signs of what will come are what keywords
    are for. Without that, half of the good blocks over pages of six words would be refused.
    """
    mine, theirs = normalise(_block_text(block)), normalise(observation)
    if not theirs:
        return False
    innocent = {*normalise(state), *(t for keyword in block.keywords for t in normalise(keyword))}
    told = [token for token in mine if token not in innocent]
    shared = lcs_length(told, [token for token in theirs if token not in innocent])
    if 2 * shared / (len(mine) + len(theirs)) >= ROUGE_LIMIT:
        return True
    known = normalise(state)
    return any(_copies(mine, known, normalise(s)) for s in _SENTENCES.split(observation))


def _copies(mine: Sequence[str], known: Sequence[str], sentence: Sequence[str]) -> bool:
    run = min(RUN_LIMIT, max(RUN_LEAST, -(-len(sentence) // 2)))
    return bool((_runs(mine, run) & _runs(sentence, run)) - _runs(known, run))


def _runs(tokens: Sequence[str], size: int) -> set[tuple[str, ...]]:
    return {tuple(tokens[i : i + size]) for i in range(len(tokens) - size + 1)}


def lcs_length(mine: Sequence[str], theirs: Sequence[str]) -> int:
    """Length of the longest common subsequence, the L of ROUGE-L.

    Bit-parallel: one big integer holds a row of the table (Hyyro 2004), so a block against a page
    of a thousand words takes a millisecond. Written here because packages for ROUGE bring a
    tokenizer and a stemmer of their own that would disagree with ours, for these ten lines.
    """
    places: dict[str, int] = {}
    for index, token in enumerate(mine):
        places[token] = places.get(token, 0) | (1 << index)
    full = (1 << len(mine)) - 1
    row = full
    for token in theirs:
        matches = row & places.get(token, 0)
        row = ((row + matches) | (row - matches)) & full
    return len(mine) - row.bit_count()
