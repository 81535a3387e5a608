"""Two hundred planted leaks in every spelling, and two hundred honest blocks about the same."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest

from forethought.hindsight.leaks import check
from forethought.types import Foresight


@dataclass(frozen=True)
class Case:
    """A question, what came later, and what of it a block could give away, in its spellings."""

    state: str
    future: tuple[str, ...]
    answers: tuple[str, ...]
    plants: dict[str, tuple[str, ...]]  # kind -> phrases that tell
    kinds: tuple[str, str, str]  # types of the things on the way: no leak


CASES = (
    Case(
        state="Where was the composer of the film score for The Quiet Harbour born?",
        future=(
            "The Quiet Harbour is a 1987 drama scored by \u00c1d\u00e1m Sz\u0151ke-Varga, who joined on 14 March "
            "1985 with an orchestra of 112 players. The recording sessions took place in a disused "
            "grain mill near the river.",
            "\u00c1d\u00e1m Sz\u0151ke-Varga was born in Sz\u00e9kesfeh\u00e9rv\u00e1r, a town of 97,000 people.",
        ),
        answers=("Sz\u00e9kesfeh\u00e9rv\u00e1r", "Alba Regia"),
        plants={
            "entity": ("\u00c1d\u00e1m Sz\u0151ke-Varga wrote it", "the score by Varga"),
            "alias": ("his town is Alba Regia", "expect ALBA REGIA"),
            "number": ("about 97000 people live there", "one hundred and twelve players"),
            "date": ("he joined on 1985-03-14", "signed March 14"),
            "initials": ("a score by \u00c1. S.-V. with \u00c1. S.", "the notes are signed A. S."),
            "accents": ("then szekesfehervar comes up", "a page on SZEKESFEHERVAR"),
            "split": ("then Sz\u00e9kes feh\u00e9rv\u00e1r comes up", "look up szoke varga next"),
            "verbatim": (
                "the recording sessions took place in a disused grain mill",
                "recording sessions took place in a disused grain mill near the river",
            ),
        },
        kinds=("film", "composer", "birthplace"),
    ),
    Case(
        state="How many species are listed in the catalogue that Mary Brandt finished?",
        future=(
            "Mary Brandt finished the Catalogue of Alpine Mosses in 1931 for the Royal Botanical "
            "Society of Edinburgh. Its last volume was printed on the 2nd of May, 1933 in Leith.",
            "The catalogue lists 1,248 species under forty-two families and was later digitised "
            "by volunteers of the society over several winters.",
        ),
        answers=("1,248", "1248"),
        plants={
            "entity": ("the Edinburgh society knows", "printed in Leith"),
            "alias": ("expect 1248 of them", "1,248 follows"),
            "number": ("twelve hundred and forty-eight", "it has 42 families"),
            "date": ("printed 1933-05-02", "the volume of May 2"),
            "initials": ("ask the R.B.S. about it", "the RBSE has it"),
            "accents": ("a search for LEITH", "ask EDINBURGH"),
            "split": ("the Edin burgh society", "printed by AlpineMosses"),
            "verbatim": (
                "lists species under families and was later digitised by volunteers of the society",
                "was later digitised by volunteers of the society over several winters",
            ),
        },
        kinds=("catalogue", "author", "count"),
    ),
    Case(
        state="Which club did the scorer of the first goal in the 1962 final join afterwards?",
        future=(
            "The first goal was scored by Jo\u00e3o Pe\u00e7anha after 27 minutes; the crowd of 68,679 stood "
            "up. He signed the contract on December 9, 1962.",
            "Jo\u00e3o Pe\u00e7anha moved to Sporting Clube da Boa Hora, where he stayed for eleven seasons "
            "and trained the youth team without pay.",
        ),
        answers=("Sporting Clube da Boa Hora", "Boa Hora", "SCBH"),
        plants={
            "entity": ("Pe\u00e7anha scored it", "look for Jo\u00e3o Pe\u00e7anha"),
            "alias": ("he joins Boa Hora", "SCBH is next"),
            "number": ("sixty-eight thousand six hundred and seventy-nine saw it", "11 seasons"),
            "date": ("signed 9 Dec 1962", "on 9.12.1962 he signs"),
            "initials": ("then S.C.B.H. comes", "a page about S. C. B. H."),
            "accents": ("pecanha is named", "JOAO PECANHA scores"),
            "split": ("he joins Boa-Ho ra", "Jo\u00e3oPe\u00e7anha is named"),
            "verbatim": (
                "where he stayed for seasons and trained the youth team without pay",
                "he stayed for eleven seasons and trained the youth team",
            ),
        },
        kinds=("match", "player", "club"),
    ),
    Case(
        state="Who directed the play that won the prize named after the explorer of Lake Orin?",
        future=(
            "Lake Orin was charted by Harriet Lindqvist-Moore in 1871. The Lindqvist Prize went to "
            "Paper Lanterns on 31 October 2008, after 205 performances.",
            "Paper Lanterns was directed by Tobias Achterberg for the National Theatre of Norway "
            "with a cast of amateurs from three fishing villages.",
        ),
        answers=("Tobias Achterberg", "T. Achterberg"),
        plants={
            "entity": ("the Lindqvist prize matters", "find Paper Lanterns"),
            "alias": ("T. Achterberg directs", "director: Tobias Achterberg"),
            "number": ("two hundred and five performances", "it ran 205 times"),
            "date": ("won 2008-10-31", "the 31st of October"),
            "initials": ("directed by T. A.", "the N.T.N. staged it"),
            "accents": ("TOBIAS ACHTERBERG is named", "achterberg directs it"),
            "split": ("Achter berg directs it", "the play PaperLanterns"),
            "verbatim": (
                "directed with a cast of amateurs from three fishing villages",
                "for the national theatre with a cast of amateurs from three fishing villages",
            ),
        },
        kinds=("lake", "prize", "director"),
    ),
    Case(
        state="In which year did the bridge designed by the father of Ruth Okafor open?",
        future=(
            "Ruth Okafor is the daughter of engineer Chukwuemeka Okafor, who worked for the "
            "Ministry of Public Works and Housing with a staff of 340.",
            "His Bonny Channel Bridge opened on 7 August 1979 and carried 15,500 vehicles a day "
            "before the ferry service was closed for good.",
        ),
        answers=("1979", "7 August 1979"),
        plants={
            "entity": ("Chukwuemeka built it", "the Bonny Channel one"),
            "alias": ("it opened 7 August 1979", "expect 1979"),
            "number": ("15500 vehicles use it", "fifteen thousand five hundred vehicles"),
            "date": ("opened 1979-08-07", "opened August 7"),
            "initials": ("ask the M.P.W.", "the MPWH staff"),
            "accents": ("CHUKWUEMEKA designs it", "a page on BONNY CHANNEL"),
            "split": ("Chukwu emeka designs it", "the BonnyChannel page"),
            "verbatim": (
                "carried vehicles a day before the ferry service was closed for good",
                "vehicles a day before the ferry service was closed for good",
            ),
        },
        kinds=("engineer", "bridge", "year"),
    ),
    Case(
        state="What is the largest island of the country where Pavel Dvo\u0159\u00e1k was envoy?",
        future=(
            "Pavel Dvo\u0159\u00e1k served as envoy to Vanuatu from 21 June 1994 and filed ninety-six "
            "reports for the Czech Foreign Office.",
            "The largest island of Vanuatu is Espiritu Santo, with an area of 3,955.5 square "
            "kilometres, most of which is covered by dense and rarely visited forest.",
        ),
        answers=("Espiritu Santo", "Santo"),
        plants={
            "entity": ("the country is Vanuatu", "an envoy in Vanuatu"),
            "alias": ("Santo is larger", "the island Espiritu Santo"),
            "number": ("3955.5 square kilometres", "96 reports"),
            "date": ("from 1994-06-21 on", "since June 21"),
            "initials": ("the island E. S.", "reports for the C.F.O."),
            "accents": ("the island esp\u00edritu santo", "an envoy in VANUATU"),
            "split": ("an envoy in Vanu atu", "the island EspirituSanto"),
            "verbatim": (
                "most of which is covered by dense and rarely visited forest",
                "square kilometres most of which is covered by dense and rarely visited forest",
            ),
        },
        kinds=("envoy", "country", "island"),
    ),
    Case(
        state="Which river flows past the castle that the sister of Anna Weiss bought?",
        future=(
            "Clara Weiss, her sister, bought Burg Hohenfels on 3 February 1920 for 78,000 marks.",
            "Burg Hohenfels stands above the Gro\u00dfe Vils, a river of fifty-eight kilometres that "
            "floods the lower meadows nearly every spring after the snow melts.",
        ),
        answers=("Gro\u00dfe Vils", "Grosse Vils"),
        plants={
            "entity": ("Clara bought it", "the castle Hohenfels"),
            "alias": ("Grosse Vils flows there", "the river Gro\u00dfe Vils"),
            "number": ("seventy-eight thousand marks", "58 kilometres long"),
            "date": ("bought 1920-02-03", "sold on Feb. 3"),
            "initials": ("the river G. V.", "the castle B. H. and C. W."),
            "accents": ("the GROSSE VILS", "past the grosse vils"),
            "split": ("the castle Hohen fels", "the river Gro\u00dfeVils"),
            "verbatim": (
                "floods the lower meadows nearly every spring after the snow melts",
                "a river that floods the lower meadows nearly every spring",
            ),
        },
        kinds=("sister", "castle", "river"),
    ),
    Case(
        state="Who taught the inventor of the Kessel valve?",
        future=(
            "The Kessel valve was invented by \u00c9mile Durand-Roche, who registered it on 19 January "
            "1904 under number 5,731 at the Imperial Patent Office.",
            "\u00c9mile Durand-Roche studied under Ludmila Hrabalov\u00e1 for three years and kept her "
            "letters in a tin box under the floor of his workshop.",
        ),
        answers=("Ludmila Hrabalov\u00e1", "Hrabalova"),
        plants={
            "entity": ("Durand invented it", "the inventor \u00c9mile Durand-Roche"),
            "alias": ("his teacher is Hrabalova", "Ludmila Hrabalov\u00e1 taught"),
            "number": ("number 5731", "five thousand seven hundred and thirty-one"),
            "date": ("registered 1904-01-19", "on the nineteenth of January"),
            "initials": ("his teacher L. H.", "the I.P.O. has it"),
            "accents": ("LUDMILA HRABALOVA taught", "emile durand invented"),
            "split": ("Hrabal ov\u00e1 taught", "LudmilaHrabalov\u00e1 taught"),
            "verbatim": (
                "kept her letters in a tin box under the floor of his workshop",
                "three years and kept her letters in a tin box",
            ),
        },
        kinds=("valve", "inventor", "teacher"),
    ),
    Case(
        state="How tall is the tower beside the museum founded by Ines Carvalho?",
        future=(
            "Ines Carvalho founded the Museum of Glass and Light in Marinha Grande in 1968.",
            "Beside it stands the Torre do Facho, 64 metres tall, finished on 11 November 1911 by "
            "two hundred and thirty workers who were paid in bread and lamp oil.",
        ),
        answers=("64 metres", "64 m", "64"),
        plants={
            "entity": ("the museum in Marinha Grande", "the Torre do Facho"),
            "alias": ("it is 64 m", "expect 64 metres"),
            "number": ("sixty-four metres", "230 workers built it"),
            "date": ("finished 11/11/1911", "since November 11"),
            "initials": ("the M.G.L. beside it", "the MGL"),
            "accents": ("the torre do FACHO", "MARINHA GRANDE has it"),
            "split": ("in Mari nha Grande", "the MarinhaGrande museum"),
            "verbatim": (
                "by workers who were paid in bread and lamp oil",
                "workers who were paid in bread and lamp oil",
            ),
        },
        kinds=("museum", "tower", "height"),
    ),
    Case(
        state="Which newspaper printed the first story of the winner of the Aldous Medal in 1977?",
        future=(
            "The Aldous Medal of 1977 went to Siobh\u00e1n N\u00ed Dhomhnaill for a novel of 412 pages.",
            "Her first story stood in the Connacht Evening Courier on 26 April 1951, when she was "
            "nineteen and worked behind the counter of a small railway canteen.",
        ),
        answers=("Connacht Evening Courier", "the Courier"),
        plants={
            "entity": ("Siobh\u00e1n won it", "a story by N\u00ed Dhomhnaill"),
            "alias": ("the Courier printed it", "Connacht Evening Courier"),
            "number": ("four hundred and twelve pages", "she was 19"),
            "date": ("printed 1951-04-26", "the paper of April 26"),
            "initials": ("printed in the C.E.C.", "the CEC"),
            "accents": ("siobhan wins", "the CONNACHT evening courier"),
            "split": ("the Conn acht paper", "the EveningCourier"),
            "verbatim": (
                "worked behind the counter of a small railway canteen",
                "when she was and worked behind the counter of a small railway canteen",
            ),
        },
        kinds=("medal", "writer", "newspaper"),
    ),
    Case(
        state="What is the remainder when the sum of the two box counts is divided by 97?",
        future=("1583", "31"),
        answers=("31",),
        plants={
            "entity": ("expect 1583 first", "the sum 1,583"),
            "alias": ("31 is left", "the remainder is 31"),
            "number": ("thirty-one is left", "fifteen hundred and eighty-three"),
        },
        kinds=("count", "sum", "remainder"),
    ),
    Case(
        state="A shop sells pens at 3 for a coin. How many coins do 96 pens cost with the rebate?",
        future=("96 / 3 = 32.0", "32 - 25 = 7"),
        answers=("7",),
        plants={
            "entity": ("expect 32 before the rebate", "thirty-two coins at first"),
            "alias": ("the answer is seven", "the result is 7"),
            "number": ("thirty-two at first", "it equals 32"),
        },
        kinds=("price", "rebate", "difference"),
    ),
)
HONEST = (
    ("Find the {0}; then its {1}. The {2} is still missing", "A direct path; one page may lack it"),
    ("Search the {0} first, read off the {1}, then the {2}", "Two look-ups; the second may fail"),
    ("Identify the {1} behind the {0}. No {2} yet", "Names are often shared by several people"),
    ("One page should name the {1}; another the {2}", "Likely well documented; little can fail"),
    ("Look for a page on the {0}, then verify the {2}", "May, in the worst case, take three hops"),
    ("Read about the {0} and compare its sources for the {2}", "Sources may disagree on the {2}"),
    ("First the {0}, second the {1}, third the {2}; 2 links open", "Ten calls are left, enough"),
    ("A biography of the {1} is expected; the {2} stands there", "Spelling of names may vary"),
    ("Expect a short page with the {1}; the {2} needs a second search", "Half of such paths work"),
    ("The {2} follows from the {1}. The {0} is known", "Dates and numbers are easily confused"),
    ("Go from the {0} to the {1}, in one or two steps", "The index may not hold the {1}"),
    ("Ask for the {1} of the {0}; then answer with the {2}", "US and UK pages may differ"),
    ("Expect an article in a local paper or an encyclopaedia", "Old pages are often gone"),
    ("Get the {1} right first; the {2} is one look-up away", "A common name; several may match"),
    ("Two facts are missing: the {1} and the {2}", "The first is easy, the second uncertain"),
    ("Check the {0}; if it fails, search for the {1} instead", "A detour costs two calls"),
    ("The {0} leads to one {1}; that page lists the {2}", "Lists are long; the item may be cut"),
)
WHERE = ("roadmap", "keywords", "analysis")


def blocks(case: Case) -> list[tuple[str, Foresight]]:
    """Each phrase of a case planted in one field of an otherwise honest block."""
    planted = []
    for kind, phrases in case.plants.items():
        for number, phrase in enumerate(phrases):
            where = WHERE[number % 2 if kind == "verbatim" else (number + len(kind)) % 3]
            planted.append(
                (kind, with_phrase(case, "roadmap" if kind == "verbatim" else where, phrase))
            )
    for phrase in (*case.plants["alias"], *case.plants["entity"]):
        planted.append(("analysis only", with_phrase(case, "analysis", phrase)))
    return planted


def with_phrase(case: Case, where: str, phrase: str) -> Foresight:
    roadmap, analysis = (text.format(*case.kinds) for text in HONEST[0])
    fields: dict[str, Any] = {"roadmap": roadmap, "keywords": case.kinds, "analysis": analysis}
    if where == "keywords":
        fields["keywords"] = (*case.kinds, phrase)
    else:
        fields[where] = f"{fields[where]}; {phrase}"
    return Foresight(**fields, q=0.5)


PLANTED = [(case, kind, block) for case in CASES for kind, block in blocks(case)]


def test_there_are_two_hundred_plants() -> None:
    assert len(PLANTED) >= 200


@pytest.mark.parametrize("index", range(len(PLANTED)))
def test_a_planted_leak_is_rejected_for_what_it_is(index: int) -> None:
    case, kind, block = PLANTED[index]
    found = check(case.state, case.future, case.answers, block).reasons
    expected = {"overlap"} if kind == "verbatim" else {"answer", "entity"}
    assert expected & set(found), (kind, block)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.kinds[-1])
def test_honest_blocks_pass(case: Case) -> None:
    refused = []
    for roadmap, analysis in HONEST:
        block = Foresight(
            roadmap=roadmap.format(*case.kinds),
            keywords=case.kinds,
            analysis=analysis.format(*case.kinds),
            q=0.5,
        )
        verdict = check(case.state, case.future, case.answers, block)
        refused += [] if verdict.accepted else [(verdict.reasons, block.roadmap, block.analysis)]
    assert len(refused) == 0, refused
