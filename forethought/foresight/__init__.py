"""The idea itself: what a foresight block says, and what it is worth.

The only place where a block is parsed or written (`block`, `headings`, `templates`), a keyword is
matched (`grounding`) and a success estimate is scored (`levels`, `calibration`). Standard library
only.
"""
