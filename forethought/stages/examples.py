"""Episodes to look at before any model has played: scripted ones with blocks written in hindsight.

They are the first of what stage 0 collects, told as the model is taught to tell them, and stand on
the page until the first evaluation. Nothing trains on this file and nothing is measured by it.
"""

from __future__ import annotations

from dataclasses import replace

from forethought.domains import make_tokenizer
from forethought.evals.run import judge_all
from forethought.hindsight.branch import smoothed
from forethought.hindsight.teacher import TeacherWriter
from forethought.jsonl import write_jsonl
from forethought.runlog import episode_to_row
from forethought.stages.context import Context
from forethought.stages.evaluate import setting_for
from forethought.stages.labels import as_rollout

NUM_EXAMPLES = 10


def write_examples(context: Context) -> None:
    """Writes RUN/examples.jsonl: ten scripted episodes as rows of episodes.jsonl.

    No continuation is run yet, so the numbers are outcomes drawn towards the share that won.
    Neither a teacher nor a judge is asked; the rules write, the grader decides.
    """
    if context.paths.examples.is_file():
        return
    tokenizer = make_tokenizer(context.config, context.domain)
    domain, strength = context.domain, context.config.prepare.prior_strength
    writer = domain.writer.rules if isinstance(domain.writer, TeacherWriter) else domain.writer
    found = domain.trajectories(NUM_EXAMPLES, tokenizer)
    share = sum(each.success for each in found) / max(len(found), 1)
    rollouts = []
    for each in found:
        q = smoothed(int(each.success), 1, share, strength)
        blocks = [writer.write(each, step, q) for step in range(len(each.steps))]
        rollouts.append(as_rollout(each, domain.text_format, tokenizer, blocks))
    setting = replace(setting_for(context, temperature=1.0, mode="faithful"), judge=None)
    episodes = judge_all(setting, rollouts, None)
    write_jsonl(context.paths.examples, (episode_to_row(episode) for episode in episodes))
