"""Who writes the blocks of a run: the rules of its domain, or a teacher behind a server."""

from __future__ import annotations

from forethought.chat.configured import client_of
from forethought.hindsight.teacher import TeacherSampling, TeacherWriter
from forethought.hindsight.writer import Writer
from forethought.schema import RunConfig


def writer_of(config: RunConfig, rules: Writer) -> Writer:
    """The writer that `prepare.writer` names; replies of a teacher are kept in FORETHOUGHT_HOME.

    No server is asked for before a reply is needed that is not in the cache.
    """
    if config.prepare.writer == "rules":
        return rules
    section = config.teacher
    client = client_of(section, section.model)
    sampling = TeacherSampling(
        temperature=section.temperature,
        top_p=section.top_p,
        max_tokens=section.max_tokens,
        seed=config.seed,
    )
    guesses = config.prepare.labels == "teacher"
    return TeacherWriter(client=client, rules=rules, sampling=sampling, guesses=guesses)
