"""A domain binds a task source to an environment, a text format, a writer and first trajectories.

The stages know this protocol and nothing about search or maths; a new domain is one file here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

from forethought.errors import InputError
from forethought.hindsight.trajectory import Trajectory
from forethought.hindsight.writer import Writer
from forethought.rollout.render import TextFormat
from forethought.schema import RunConfig
from forethought.types import Rollout, Task, TrainingSequence, Truth

if TYPE_CHECKING:
    from forethought.training.policy import Policy


class Domain(Protocol):
    """What the stages need to know about a task source."""

    @property
    def env_name(self) -> str:
        """Name of the environment, as in `forethought list envs`."""
        ...

    @property
    def text_format(self) -> TextFormat:
        """Prompts, tags and stops."""
        ...

    @property
    def writer(self) -> Writer:
        """Writes blocks from what really came."""
        ...

    @property
    def imitate_failures(self) -> bool:
        """Whether a failed trajectory acted well, so that its actions may train in stage 2."""
        ...

    def tasks(self, split: str, num: int, *, offset: int = 0) -> list[Task]:
        """`num` tasks of a split, a function of the seed of the run and `offset` alone."""
        ...

    def tasks_of_worlds(self, seeds: range, num: int | None) -> list[Task]:
        """Tasks of the named worlds, all or the first `num`; a source without worlds refuses."""
        ...

    def make_env(self) -> Any:
        """A fresh environment instance."""
        ...

    def trajectories(self, num: int, tokenizer: Any, *, split: str = "train") -> list[Trajectory]:
        """The first trajectories, failures kept, from scripted policies or annotations.

        Those of another split than `train` are for measuring.
        """
        ...

    def entities(self) -> tuple[str, ...]:
        """Names that a block must not give away; empty where capital letters show them."""
        ...

    def truth(self, rollout: Rollout) -> Truth:
        """What the world knows about a rollout; empty where there is no oracle."""
        ...


def make_domain(config: RunConfig) -> Domain:
    """The domain that a configuration names."""
    if config.data.source == "atlas":
        from forethought.domains.atlas import AtlasDomain

        return AtlasDomain.from_config(config)
    if config.data.source == "workbook":
        from forethought.domains.workbook import WorkbookDomain

        return WorkbookDomain.from_config(config)
    if config.data.source == "qa":
        from forethought.domains.qa import QaDomain

        return QaDomain.from_config(config)
    if config.data.source == "maths":
        from forethought.domains.maths import MathsDomain

        return MathsDomain.from_config(config)
    from forethought.domains.gsm8k import Gsm8kDomain

    return Gsm8kDomain.from_config(config)


def make_base(config: RunConfig, domain: Domain) -> tuple[Policy, list[TrainingSequence]]:
    """The model that training starts from, and what it is first trained on (may be nothing)."""
    if config.model.name == "tiny":
        from forethought.domains import atlas, workbook

        if isinstance(domain, atlas.AtlasDomain):
            return atlas.base_model(config, domain)
        if isinstance(domain, workbook.WorkbookDomain):
            return workbook.base_model(config, domain)
        raise _no_tiny(config)
    from forethought.data.models import resolve_model
    from forethought.training.policy import Policy

    policy = Policy.load(resolve_model(config.model.name), dtype=config.model.dtype)
    return policy, _warm_up(config, domain, policy)


def make_tokenizer(config: RunConfig, domain: Domain) -> Any:
    """The tokenizer of the model that training starts from."""
    if config.model.name == "tiny":
        from forethought.domains import atlas, workbook

        if isinstance(domain, atlas.AtlasDomain):
            return atlas.atlas_tokenizer()
        if isinstance(domain, workbook.WorkbookDomain):
            return workbook.workbook_tokenizer()
        raise _no_tiny(config)
    from forethought.data.models import resolve_model
    from forethought.training.policy import load_tokenizer

    return load_tokenizer(resolve_model(config.model.name))


def _no_tiny(config: RunConfig) -> InputError:
    return InputError(
        "model.name",
        got=f"tiny with data.source {config.data.source}",
        expected="a pretrained model: a tiny one is trained for the synthetic worlds only",
        next_step="name a model that `forethought fetch` knows, or a folder",
    )


def _warm_up(config: RunConfig, domain: Domain, policy: Policy) -> list[TrainingSequence]:
    """Right trajectories in the format without blocks, behind those that stage 0 will use."""
    from forethought.hindsight.corpus import CorpusBuilder

    num = config.base.warmup_episodes
    if num == 0:
        return []
    taken = config.prepare.num_episodes
    found = domain.trajectories(taken + 2 * num, policy.tokenizer)[taken:]
    builder = CorpusBuilder(
        text_format=domain.text_format, tokenizer=policy.tokenizer, writer=domain.writer
    )
    right = [trajectory for trajectory in found if trajectory.success][:num]
    if not right:
        raise InputError(
            "base.warmup_episodes",
            got=f"{num}, and no right trajectory behind the {taken} of prepare.num_episodes",
            expected="fewer trajectories in stage 0 than the source has",
            next_step="lower prepare.num_episodes, or set base.warmup_episodes = 0",
        )
    return [builder.imitation(trajectory).sequence for trajectory in right]


def no_worlds(source: str) -> InputError:
    """What a source without synthetic worlds answers to `--worlds`."""
    return InputError(
        "--worlds",
        got=f"world seeds for {source}",
        expected="a synthetic world such as demo/atlas",
        next_step="use --split and --num",
    )
