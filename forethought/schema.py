"""What a run is, as validated sections: every key, its default and its bounds.

Defaults are the vetted setting of the synthetic world; docs/configuration.md lists every key.
Reading files and overrides is `forethought.config`.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationInfo, field_validator, model_validator

RewardTerm = Literal["outcome", "invalid_actions", "malformed_turns", "calibration", "log_score",
                     "maths_paper", "maths_paper_executed"]  # fmt: skip
"""Names of `forethought.rewards.terms.TERMS`."""

MAX_EPOCHS = 1000
"""Passes over a corpus: nobody means more."""

Share = Annotated[float, Field(ge=0, le=1)]


class Section(BaseModel):
    """A table of the TOML file: frozen, unknown keys and endless numbers refused."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    @field_validator("*", mode="before")
    @classmethod
    def _plain_numbers(cls, value: Any, info: ValidationInfo) -> Any:
        kinds = str(cls.model_fields[info.field_name or ""].annotation)
        if isinstance(value, bool) and "bool" not in kinds:
            raise ValueError("a value of another kind, not true or false")
        if isinstance(value, int) and abs(value) >= 2**63:
            raise ValueError("a number below 2**63")
        return value


class DataConfig(Section):
    """Where tasks come from."""

    source: Literal["atlas", "workbook", "gsm8k", "maths", "qa"] = "atlas"
    law_seed: int | None = Field(None, ge=0)  # None: the run's seed
    identical_cells: bool = False  # negative control: all cells of the law alike
    failed_decisions: bool = False  # whether blocks of failed episodes teach which way to take
    max_annotations: int = Field(2, ge=1)  # gsm8k, maths: calculations of an annotated solution
    benchmarks: tuple[str, ...] = ()  # qa, maths: names of sets, or NAME:FILE
    max_rows: int = Field(2000, ge=1)  # qa, maths: the first rows of each set and split
    corpus: str = ""  # qa: a corpus.jsonl; "": the paragraphs of the rows
    retriever: str = Field("bm25", min_length=1)  # qa: bm25, dense, hybrid, or a server's address
    index: str = ""  # qa: a folder that `forethought index` wrote for the corpus; "": in memory
    page_chars: int = Field(0, ge=0)  # qa: of a page that a search shows; 0: all

    @model_validator(mode="after")
    def _questions_are_named(self) -> DataConfig:
        if self.source in ("qa", "maths") and not self.benchmarks:
            raise ValueError(f'data.source = "{self.source}" without data.benchmarks')
        searched = self.corpus or self.retriever.startswith(("http://", "https://"))
        if not searched and (self.retriever != "bm25" or self.index):
            raise ValueError(
                f"data.retriever = {self.retriever!r}, data.index = {self.index!r} without "
                "data.corpus: the paragraphs of the rows are searched by bm25 in memory"
            )
        return self


class ModelConfig(Section):
    """The policy: a tiny Llama from scratch, or a Hugging Face model by name."""

    name: str = Field(
        "tiny", min_length=1
    )  # "tiny", a folder, a hub name, or a name that `fetch` knows
    hidden: int = Field(128, ge=1)
    layers: int = Field(4, ge=1)
    heads: int = Field(4, ge=1)
    kv_heads: int = Field(1, ge=1)
    ffn: int = Field(384, ge=1)
    max_positions: int = Field(512, ge=1)
    dtype: Literal["float32", "bfloat16"] = "float32"
    prompt_style: Literal["bare", "instruct", "chat"] = "bare"
    train_last_layers: int = Field(0, ge=0)  # only these decoder layers learn; 0: every weight

    @model_validator(mode="after")
    def _shape_divides(self) -> ModelConfig:
        if self.name == "tiny" and (
            self.hidden % self.heads or self.heads % self.kv_heads or self.hidden // self.heads % 2
        ):
            raise ValueError(
                f"hidden {self.hidden}, heads {self.heads}, kv_heads {self.kv_heads}: heads that "
                "divide hidden into even parts, and kv_heads that divide heads, are needed"
            )
        return self


class OptimSection(Section):
    """One optimiser and its schedule."""

    name: Literal["muon", "adamw"] = "muon"
    lr: float = Field(6e-3, gt=0)  # Muon: hidden matrices; AdamW: everything
    adamw_lr: float = Field(6e-3, gt=0)  # Muon only: embeddings, norms
    momentum: float = Field(0.95, ge=0, lt=1)  # Muon only
    weight_decay: float = Field(0.0, ge=0)
    schedule: Literal["constant", "linear", "cosine"] = "linear"
    warmup_fraction: float = Field(0.03, ge=0, le=1)
    final_fraction: float = Field(0.1, ge=0, le=1)


class SupervisedConfig(Section):
    """What stages with cross-entropy share."""

    batch_sequences: int = Field(16, ge=1)
    micro_batch_tokens: int = Field(2048, ge=64)
    clip_grad_norm: float = Field(1.0, ge=0)  # 0: off
    bf16: bool = False
    optim: OptimSection = OptimSection()
    checkpoint_every: int = Field(50, ge=1)  # optimiser steps


class BaseTraining(SupervisedConfig):
    """Before stage 1: copying, pages, episodes (synthetic worlds); episodes (pretrained models)."""

    drill_tokens: int = Field(350_000, ge=0)
    page_tokens: int = Field(60_000, ge=0)
    episode_tokens: int = Field(1_000_000, ge=0)
    warmup_episodes: int = Field(0, ge=0)  # pretrained models: episodes without blocks
    min_copy_accuracy: float = Field(0.97, ge=0, le=1)  # of the gate; 0: no gate
    gate_tasks: int = Field(100, ge=1)


class PrepareConfig(Section):
    """Stage 0: trajectories, executed branches, labels, blocks."""

    num_episodes: int = Field(4000, ge=1)  # trajectories of the corpus
    branch_states: int = Field(200, ge=0)  # states with executed alternatives
    alternatives: int = Field(3, ge=1)  # K, distinct executed actions a branch state
    continuations: int = Field(2, ge=1)  # k, per labelled action
    prior_strength: float = Field(1.0, ge=0)  # a of (s + a p0) / (k + a)
    max_wave: int = Field(512, ge=1)  # continuations decoded at a time
    label_temperature: float = Field(1.0, ge=0)
    max_failed_share: float = Field(0.02, ge=0, le=1)  # of continuations lost to the machine
    outcome_only: bool = False  # stage 0 labels are outcomes: the model cannot act yet
    writer: Literal["rules", "teacher"] = "rules"  # who writes the blocks
    labels: Literal["measured", "teacher"] = "measured"  # or the teacher's guess in hindsight


class AskedConfig(Section):
    """How hard a model behind OPENAI_BASE_URL is asked, and where to stop."""

    parallel: int = Field(8, ge=1)  # requests at a time
    tries: int = Field(5, ge=1)  # of one request, with longer and longer pauses
    timeout_s: float = Field(120.0, gt=0)  # of one try
    price_prompt: float = Field(0.0, ge=0)  # of a million tokens in, for estimate and bound
    price_completion: float = Field(0.0, ge=0)  # of a million tokens out
    max_total_tokens: int | None = Field(None, ge=1)  # in and out; the run stops there
    max_cost: float | None = Field(None, gt=0)  # by the prices; the run stops there


class TeacherConfig(AskedConfig):
    """The model that writes blocks for `prepare.writer = "teacher"`.

    Its `max_cost` also bounds the estimate: no run starts that may cost more.
    """

    model: str = ""  # the name that the server knows
    temperature: float = Field(0.6, ge=0)
    top_p: float = Field(0.95, gt=0, le=1)
    max_tokens: int = Field(1024, ge=1)  # of one reply
    max_failed_share: float = Field(0.05, ge=0, le=1)  # of turns without a block


class JudgeConfig(AskedConfig):
    """Who says whether an answer is right."""

    kind: Literal["exact", "llm"] = "exact"  # llm: where it is no exact match, a model is asked
    model: str = ""  # the name that the server knows
    max_tokens: int = Field(512, ge=1)  # of one reply, hidden thought included


class ServedConfig(AskedConfig):
    """A model behind a server that is evaluated (`--model openai:NAME`); bounds of its episodes."""

    max_turn_tokens: int = Field(2048, ge=8)  # in place of rollout.max_turn_tokens
    max_context_tokens: int = Field(16_384, ge=32)  # in place of rollout.max_context_tokens


class MidtrainConfig(SupervisedConfig):
    """Stage 1 (WM-AMT)."""

    corpus: Literal["true", "none", "recap", "shuffled", "constant", "observations"] = "true"
    epochs: float = Field(1.0, ge=0, le=MAX_EPOCHS)  # 0: no stage 1
    block_share: float = Field(0.5, ge=0, le=1)  # of the steps 1..T-1 that carry a block
    untouched_share: float = Field(0.3, ge=0, le=1)  # trajectories without blocks in the mixture
    lambda_obs: float = Field(0.0, ge=0)  # weight of cross-entropy on the text of observations


class SftConfig(SupervisedConfig):
    """Stage 2 (FE-SFT)."""

    num_episodes: int = Field(4000, ge=1)
    epochs: float = Field(2.0, ge=0, le=MAX_EPOCHS)  # 0: no stage 2
    batch_sequences: int = Field(8, ge=1)
    optim: OptimSection = OptimSection(lr=4e-3, final_fraction=0.02)
    format_off_share: float = Field(0.1, ge=0, le=1)
    corpus: Literal["true", "recap", "shuffled", "constant"] = "true"  # what the blocks say
    samples: Literal["episodes", "turns"] = (
        "episodes"  # a row: an episode, or a turn and its history
    )
    blocks: bool = True  # False: the successes without any block (plain SFT)
    relabel: bool = True  # new labels by the student that starts this stage
    q_targets: Literal["nearest", "posterior"] = "nearest"  # the label's level, or a draw around it
    low_share: tuple[Share, Share] = (0.0, 1.0)  # least and largest, of episodes with a label < .5
    brier: float = Field(0.0, ge=0)  # weight of the exact Brier score at the number


class RlConfig(Section):
    """Stage 3 (FC-RL)."""

    profile: Literal["causal", "paper", "paper-mean", "grpo", "gigpo"] = "causal"
    updates: int = Field(60, ge=0)  # 0: no stage 3
    prompts: int = Field(12, ge=1)  # tasks a batch
    group_size: int = Field(8, ge=1)
    temperature: float = Field(1.0, gt=0)
    omega: float = Field(0.2, ge=0)  # paper; gigpo; causal with td-add
    gamma: float = Field(0.95, gt=0, le=1)  # gigpo: discount a turn
    anchor_similarity: float = Field(1.0, gt=0, le=1)  # gigpo: of states that are one; 1: equal
    r_calib: float = Field(1.0, ge=0)  # paper: weight of R_calib in the reward of the block
    r_ground: float = Field(1.0, ge=0)  # paper: weight of R_ground there
    matcher: Literal["fraction", "all", "any"] = "fraction"  # paper: hits -> R_ground
    future: Literal["observations", "all"] = "observations"  # paper: what keywords are sought in
    normaliser: Literal["default", "zscore", "centre", "leave_one_out"] = (
        "default"  # paper, grpo, gigpo: of R
    )
    plan_baseline: Literal["previous", "group"] = "previous"  # causal: V of the turn before, or m_i
    lam: float = Field(1.0, ge=0, le=1)  # causal: below 1 while Brier skill of 10 updates is > .1
    ablations: tuple[Literal["soft", "td-add"], ...] = ()  # causal: docs/method.md
    equal_groups: Literal["keep", "drop"] = "keep"  # those whose members have one reward
    average: Literal["constant", "token"] = (
        "constant"  # policy gradient over L_ref, or sampled tokens
    )
    c_g: float = Field(0.1, ge=0)  # causal
    c_q: float = Field(1.0, ge=0)  # causal
    readout_lr: float = Field(2e-2, gt=0)  # causal: of the output embeddings, from Brier alone
    brier_below: float = Field(0.15, ge=0, le=1)  # share of the Brier gradient for other layers
    refit_rollouts: int = Field(1000, ge=0)  # causal: of the finished policy, for its levels; 0: no
    refit_ridge: float = Field(1e-2, ge=0)  # of the regression that the refit begins with
    terms: tuple[RewardTerm, ...] = ("outcome", "invalid_actions", "malformed_turns")  # sum is R
    malformed_penalty: float = Field(0.5, ge=0)  # off the reward, a turn that breaks the format
    kl: float = Field(0.12, ge=0)  # weight of the KL to the policy that stage 3 began with
    kl_temperature: float = Field(0.5, gt=0)  # of that policy; below 1 the KL term sharpens
    kl_decision: float = Field(0.3, ge=0)  # causal: share of the KL at words that choose a way
    w_decision: float = Field(1.0, ge=0)  # causal: weight of those words in the policy gradient
    w_roadmap: float = Field(0.0, ge=0)  # of the other words of a roadmap
    w_keyword: float = Field(0.0, ge=0)
    w_analysis: float = Field(0.0, ge=0)
    w_act: float = Field(0.25, ge=0)  # thought and action
    w_other: float = Field(1.0, ge=0)  # what stands outside all elements
    reference_tokens: int = Field(64, ge=1)  # L_ref
    clip_low: float = Field(0.2, ge=0, lt=1)
    clip_high: float = Field(0.28, ge=0)
    micro_batch_tokens: int = Field(2048, ge=64)
    clip_grad_norm: float = Field(1.0, ge=0)  # 0: off
    bf16: bool = False
    optim: OptimSection = OptimSection(
        lr=2e-3, adamw_lr=2e-3, warmup_fraction=0.1, final_fraction=0.0
    )
    checkpoint_every: int = Field(5, ge=1)
    max_failed_share: float = Field(0.05, ge=0, le=1)
    information_every: int = Field(10, ge=0)  # updates between two looks at block_mi; 0: none

    @field_validator("group_size")
    @classmethod
    def _groups_can_have_signal(cls, value: int) -> int:
        if value < 2:
            raise ValueError(
                f"rl.group_size must be >= 2 (got {value}); a group of one has zero advantage"
            )
        return value


class RolloutConfig(Section):
    """Bounds of an episode."""

    max_turns: int = Field(6, ge=1)
    max_turn_tokens: int = Field(96, ge=8)
    max_context_tokens: int = Field(400, ge=32)
    max_batch: int = Field(256, ge=1)
    pause_below: float = Field(0.0, ge=0, lt=1)  # share of a wave whose turns join the next one
    bf16: bool = False  # sample with a bfloat16 copy of the weights
    old_blocks: bool = True  # whether later turns see the blocks of earlier ones
    top_k_documents: int | None = Field(None, ge=1)  # pages of a search; None: 2 in atlas, else 3
    max_observation_tokens: int | None = Field(
        None, ge=16
    )  # a longer reply, tags included, is cut; None: no bound


class ToolsConfig(Section):
    """Where programs run that the policy writes (gsm8k, maths)."""

    sandbox: str = Field("auto", min_length=1)  # auto, a level, or package.module:Name
    session: bool = False  # whether names of a call are there for the next ones of its episode


class EvalConfig(Section):
    """Evaluation after each stage."""

    num_tasks: int = Field(250, ge=1)
    split: Literal["val", "test"] = "val"
    temperature: float = Field(1.0, ge=0)
    attempts: int = Field(1, ge=1)  # rollouts a task at `temperature`: mean@k, pass@k, votes
    greedy_too: bool = True
    resamples: int = Field(2000, ge=1)
    num_blocks: int = Field(250, ge=0)  # held-out blocks scored before and after stage 1
    # of the evaluation at `temperature` (`list modes`); "": what the stage was taught
    mode: str = ""
    imagine_k: int = Field(4, ge=0)  # 0 or 1: no such evaluation
    imagine_after: tuple[Literal["sft", "rl"], ...] = ("sft", "rl")

    @model_validator(mode="after")
    def _mode_has_attempts(self) -> EvalConfig:
        if self.attempts > 1 and self.mode.startswith(("adaptive", "filler", "escalate")):
            raise ValueError(
                f"eval.attempts = {self.attempts} with eval.mode = {self.mode!r}, which plays a "
                "task once"
            )
        return self


class ControlConfig(Section):
    """The arms beside the full pipeline."""

    arms: tuple[Literal["fe-sft-grpo", "plain-grpo", "prompted"], ...] = ("fe-sft-grpo",)
    estimate_tasks: int = Field(500, ge=20)  # validation tasks that estimates are fitted on


class RunConfig(Section):
    """Everything a run is."""

    name: str = "run"
    seed: int = Field(100, ge=0)
    smoke: bool = False  # marks page and summary: too small for conclusions
    data: DataConfig = DataConfig()
    model: ModelConfig = ModelConfig()
    rollout: RolloutConfig = RolloutConfig()
    tools: ToolsConfig = ToolsConfig()
    base: BaseTraining = BaseTraining()
    prepare: PrepareConfig = PrepareConfig()
    teacher: TeacherConfig = TeacherConfig()
    midtrain: MidtrainConfig = MidtrainConfig()
    sft: SftConfig = SftConfig()
    rl: RlConfig = RlConfig()
    judge: JudgeConfig = JudgeConfig()
    eval: EvalConfig = EvalConfig()
    served: ServedConfig = ServedConfig()
    control: ControlConfig = ControlConfig()

    @model_validator(mode="after")
    def _contexts_fit(self) -> RunConfig:
        bound, positions = self.rollout.max_context_tokens, self.model.max_positions
        if self.model.name == "tiny" and bound > positions:
            raise ValueError(
                f"rollout.max_context_tokens = {bound} is more than model.max_positions = "
                f"{positions}"
            )
        return self

    @model_validator(mode="after")
    def _teacher_fits(self) -> RunConfig:
        if self.prepare.writer == "teacher":
            if not self.teacher.model:
                raise ValueError('prepare.writer = "teacher" without teacher.model')
            if self.data.source in ("atlas", "workbook"):
                raise ValueError(
                    f'prepare.writer = "teacher" with data.source = "{self.data.source}": a '
                    "teacher has no words of its vocabulary"
                )
        if self.prepare.labels == "teacher" and (
            self.prepare.writer != "teacher" or self.sft.relabel
        ):
            raise ValueError(
                'prepare.labels = "teacher" needs prepare.writer = "teacher", and sft.relabel = '
                "false so that they are not measured after all"
            )
        return self

    @model_validator(mode="after")
    def _judge_is_named(self) -> RunConfig:
        if self.judge.kind == "llm" and not self.judge.model:
            raise ValueError('judge.kind = "llm" without judge.model')
        return self

    @property
    def teaches_blocks(self) -> bool:
        """Whether the model is taught to write blocks, so that it is asked for them."""
        return self.sft.blocks and self.sft.epochs > 0

    @property
    def law_seed(self) -> int:
        """Seed of the world's physics: its own key, else the run's seed."""
        return self.seed if self.data.law_seed is None else self.data.law_seed
