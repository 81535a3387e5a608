r"""A question without what only its form says: LaTeX as plain signs, no figures, no instructions.

`\dfrac{1}{2}`, `\tfrac12` and `\frac{1}{2}`, `\left(x\right)` and `(x)`, `$x$`, `\(x\)` and `x`,
`\leqslant` and the sign for it become one text. What is left of a command is its name as a word.
Nothing is computed: `1/2` stays another text than `\frac{1}{2}`.
"""

from __future__ import annotations

import re

_FIGURE = re.compile(
    r"\[asy\].*?(?:\[/asy\]|\Z)"
    r"|\\begin\{(asy|tikzpicture|picture)\}.*?(?:\\end\{\1\}|\Z)"
    r"|\\includegraphics(?:\[[^\]]*\])?\{[^{}]*\}|!\[[^\]]*\]\([^)]*\)|<image\d*>",
    re.DOTALL | re.IGNORECASE,
)

# What prompts put around a problem, in published training files and evaluation code (DAPO, arXiv
# 2503.14476; verl; Qwen2.5-Math; simple-evals): sentences that name the steps, the box, or the
# line that the answer stands on.
_INSTRUCTION = re.compile(
    r"step[- ]by[- ]step|\\boxed|(?:own|last) line|without quotes|solve the following math|####"
    r"|^\W*(?:question|problem|answer|solution)\s*:\W*$",
    re.IGNORECASE,
)
_SENTENCE_END = re.compile(r"(?<=[.?!:])\s+|\n+|(?=Please reason|Let's think|Put your final)")

_BREAK = re.compile(r"\\\\(?:\[\s*-?[\d.]+\s*[a-z]{2}\s*\])?")
_LAYOUT = re.compile(
    r"\\(?:begin|end)\s*\{[a-z]+\*?\}(?:\{[lcr|\s]*\})?"
    r"|\\(?:[hv]space|phantom|label|tag|color)\*?\s*\{[^{}]*\}"
    r"|\\(?:left|right|middle|[bB]igg?[lrm]?|displaystyle|textstyle|scriptstyle|limits|nolimits"
    r"|mathrm|mathbf|mathit|mathsf|mathcal|mathbb|mathfrak|boldsymbol|bold|operatorname\*?"
    r"|text(?:bf|it|rm|tt|sf|sc|normal|up)?|mbox|hbox|emph|rm|bf|it|quad|qquad|hline|noindent"
    r"|smallskip|medskip|bigskip|hfill|ensuremath|underline|boxed|par)(?![A-Za-z])"
    r"|\\[,;:! ]|\{,\}(?!\d)",
)
_THOUSANDS = re.compile(r"(?<=\d)(?:\{,\}|,\\!|\\,)(?=\d{3}(?!\d))")
_SHORT_FRACTION = re.compile(r"\\frac\s*(\d)\s*(?:(\d)|(?=\{))")
_COMMAND = re.compile(r"\\([A-Za-z]+)")
_SAME = {
    **dict.fromkeys(("dfrac", "tfrac", "cfrac", "df"), "frac"),
    **dict.fromkeys(("dbinom", "tbinom"), "binom"),
    **dict.fromkeys(("leq", "leqslant", "leqq"), "le"),
    **dict.fromkeys(("geq", "geqslant", "geqq"), "ge"),
    **dict.fromkeys(("lt", "less"), "<"),
    **dict.fromkeys(("gt",), ">"),
    **dict.fromkeys(("times", "cdot", "ast"), "*"),
    "div": "/",
    "neq": "ne",
    **dict.fromkeys(("dots", "ldots", "cdots", "vdots", "dotsb", "dotsc", "dotsm"), " "),
    **dict.fromkeys(("to", "longrightarrow"), "rightarrow"),
    **dict.fromkeys(("degree", "degrees"), "circ"),
    **dict.fromkeys(("lvert", "rvert", "vert", "mid"), "|"),
    **dict.fromkeys(("lbrace", "rbrace", "lbrack", "rbrack"), " "),
    "vartriangle": "triangle",
    "varphi": "phi",
    "varepsilon": "epsilon",
    "overrightarrow": "vec",
    "overline": "bar",
    "widehat": "hat",
    "widetilde": "tilde",
    **dict.fromkeys(("bmod", "pmod"), "mod"),
    **dict.fromkeys(("equal",), "="),
    "plus": "+",
    "minus": "-",
}
_SIGNS = {
    ord(sign): f" {word} "
    for signs, word in (
        ("\u00d7\u00b7\u22c5\u2217", "*"),
        ("\u00f7", "/"),
        ("\u2264\u2a7d", "le"),
        ("\u2265\u2a7e", "ge"),
        ("\u2260", "ne"),
        ("\u221a", "sqrt"),
        ("\u221e", "infty"),
        ("\u03c0", "pi"),
        ("\u00b0", "circ"),
        ("\u2220", "angle"),
        ("\u25b3\u25b5\u2206", "triangle"),
        ("\u2192", "rightarrow"),
        ("\u2208", "in"),
    )
    for sign in signs
}


def split_figures(text: str) -> tuple[str, str]:
    """A text without the drawings in it (Asymptote, TikZ, images), and the drawings."""
    if "[" not in text and "\\" not in text and "<image" not in text:
        return text, ""
    drawn = " ".join(found.group() for found in _FIGURE.finditer(text))
    return (_FIGURE.sub(" ", text), drawn) if drawn else (text, "")


def without_instructions(text: str) -> str:
    """A problem without the sentences of a known prompt before and behind it.

    A text that is nothing else stays.
    """
    if ":" not in text and not _INSTRUCTION.search(text):
        return text
    sentences = [each for each in _SENTENCE_END.split(text) if each.strip()]
    first, last = 0, len(sentences)
    while first < last and _INSTRUCTION.search(sentences[first]):
        first += 1
    while first < last and _INSTRUCTION.search(sentences[last - 1]):
        last -= 1
    kept = sentences[first:last]
    return "\n".join(kept) if 0 < len(kept) < len(sentences) else text


def plain_maths(text: str) -> str:
    """LaTeX and the signs of Unicode as words and ASCII signs."""
    if not text.isascii():
        text = text.translate(_SIGNS)
    if "\\" not in text:
        return text
    text = _THOUSANDS.sub(",", text)
    text = _LAYOUT.sub(" ", _BREAK.sub(" ", text))
    text = _COMMAND.sub(lambda found: f"\\{_SAME.get(found[1], found[1])} ", text)
    text = _SHORT_FRACTION.sub(r"\\frac \1 \2 ", text)
    return text.replace("\\", " ")
