from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from training_builders import NUMERALS, byte_policy, word_policy

from forethought.errors import InputError, MissingError
from forethought.training.policy import Policy


def test_a_saved_policy_loads_with_the_same_hash_and_logits(tmp_path: Path) -> None:
    policy = word_policy(3)
    policy.save(tmp_path / "m")
    again = Policy.load(tmp_path / "m")
    ids = torch.arange(4, 20).unsqueeze(0)
    assert again.sha256() == policy.sha256()
    assert torch.equal(policy.model(input_ids=ids).logits, again.model(input_ids=ids).logits)
    assert {p.name for p in tmp_path.iterdir()} == {"m"}
    assert {"config.json", "model.safetensors", "tokenizer.json"} <= {
        p.name for p in (tmp_path / "m").iterdir()
    }


def test_one_changed_weight_changes_the_hash() -> None:
    policy = word_policy()
    before = policy.sha256()
    with torch.no_grad():
        policy.model.model.norm.weight[0] += 1e-3
    assert policy.sha256() != before


def test_saving_again_replaces_the_model_and_leaves_nothing_behind(tmp_path: Path) -> None:
    word_policy(1).save(tmp_path / "m")
    word_policy(2).save(tmp_path / "m")
    assert Policy.load(tmp_path / "m").sha256() == word_policy(2).sha256()
    assert [p.name for p in tmp_path.iterdir()] == ["m"]


def test_saving_never_replaces_a_folder_of_other_things(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(InputError, match="other things"):
        word_policy().save(tmp_path)
    assert (tmp_path / "thesis.txt").exists()


@pytest.mark.parametrize("dtype", ["bfloat16", torch.bfloat16])
def test_the_number_format_is_taken_by_name_or_value(
    tmp_path: Path, dtype: str | torch.dtype
) -> None:
    word_policy().save(tmp_path / "m")
    assert Policy.load(tmp_path / "m", dtype=dtype).dtype == torch.bfloat16


def test_what_is_not_a_model_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such folder"):
        Policy.load(tmp_path / "absent")
    with pytest.raises(InputError, match=r"without config\.json"):
        Policy.load(tmp_path)
    (tmp_path / "file").write_text("x")
    with pytest.raises(InputError, match="a file"):
        Policy.load(tmp_path / "file")
    with pytest.raises(MissingError, match="some-owner/some-model"):
        Policy.load("some-owner/some-model")
    word_policy().save(tmp_path / "m")
    with pytest.raises(InputError, match="dtype"):
        Policy.load(tmp_path / "m", dtype="int3")
    with pytest.raises(InputError, match="DEVICE"):
        Policy.load(tmp_path / "m", device="toaster")


def test_a_damaged_folder_is_refused_and_never_filled_with_fresh_weights(tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    word_policy().save(tmp_path / "m")
    weights = tmp_path / "m" / "model.safetensors"
    tensors = load_file(weights)
    tensors.pop("model.norm.weight")
    save_file(tensors, weights, metadata={"format": "pt"})
    with pytest.raises(InputError, match=r"model\.norm\.weight"):
        Policy.load(tmp_path / "m")
    weights.write_bytes(weights.read_bytes()[:100])
    with pytest.raises(InputError, match="does not load"):
        Policy.load(tmp_path / "m")
    weights.unlink()
    with pytest.raises(InputError, match="does not load"):
        Policy.load(tmp_path / "m")
    (tmp_path / "m" / "config.json").write_text(json.dumps({"model_type": "unheard-of"}))
    with pytest.raises(InputError, match="does not load"):
        Policy.load(tmp_path / "m")


@pytest.mark.parametrize("name", ["config.json", "tokenizer.json", "tokenizer_config.json"])
@pytest.mark.parametrize("text", ["[]", "null", "{", "\x00", "3", '{"a": 1}', "{}"])
def test_a_file_of_a_model_that_holds_something_else_is_named(
    tmp_path: Path, name: str, text: str
) -> None:
    word_policy().save(tmp_path / "m")
    (tmp_path / "m" / name).write_text(text)
    try:
        Policy.load(tmp_path / "m")
    except InputError as error:
        assert str(tmp_path / "m") in str(error) and "Next:" in str(error)
    else:  # an empty tokenizer_config is enough for transformers
        assert text.startswith("{") and name == "tokenizer_config.json"


def test_level_ids_exist_only_where_each_numeral_is_one_token() -> None:
    policy = word_policy()
    ids = policy.level_ids()
    assert ids is not None
    assert policy.tokenizer.convert_ids_to_tokens(ids) == list(NUMERALS)
    assert byte_policy().level_ids() is None


def test_features_and_projection_give_the_logits_of_the_whole_model() -> None:
    policy = word_policy()
    ids = torch.arange(4, 20).unsqueeze(0)
    with torch.no_grad():
        whole = policy.model(input_ids=ids).logits[0]
        features = policy.features(ids)
        assert features.shape == (1, 16, 32)
        torch.testing.assert_close(policy.project(features[0]), whole)


def test_a_model_with_a_soft_cap_keeps_its_own_logits() -> None:
    from transformers import Gemma2Config, Gemma2ForCausalLM

    torch.manual_seed(0)
    config = Gemma2Config(
        vocab_size=40,
        hidden_size=16,
        intermediate_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        num_key_value_heads=1,
        head_dim=8,
        initializer_range=1.0,
        final_logit_softcapping=2.0,
        attn_implementation="eager",
    )
    policy = Policy(Gemma2ForCausalLM(config).eval(), word_policy().tokenizer)
    ids = torch.arange(4, 20).unsqueeze(0)
    with torch.no_grad():
        torch.testing.assert_close(
            policy.project(policy.features(ids)[0]), policy.model(input_ids=ids).logits[0]
        )


def test_a_mask_that_the_model_cannot_keep_is_refused() -> None:
    policy = word_policy()
    mask = torch.ones(1, 8, 8, dtype=torch.bool).tril()
    policy.model.config.sliding_window = 4
    with pytest.raises(MissingError, match="sliding window of 4"):
        policy.features(torch.arange(4, 12).unsqueeze(0), mask)


def test_eager_and_sdpa_attention_take_the_same_mask() -> None:
    policy = word_policy()
    ids = torch.arange(4, 12).unsqueeze(0)
    mask = torch.ones(1, 8, 8, dtype=torch.bool).tril()
    mask[0, 5:, :5] = False
    with torch.no_grad():
        fast = policy.features(ids, mask)
        policy.model.set_attn_implementation("eager")
        torch.testing.assert_close(policy.features(ids, mask), fast, rtol=1e-4, atol=1e-5)


def test_only_the_last_layers_learn_and_zero_means_all() -> None:
    policy = word_policy()

    def learning() -> set[str]:
        return {name for name, p in policy.model.named_parameters() if p.requires_grad}

    every = learning()
    policy.train_last(1)
    assert learning() == {name for name in every if name.startswith("model.layers.1.")}
    policy.train_last(0)
    assert learning() == every
    with pytest.raises(InputError, match=r"train_last_layers.*0 \(all weights\) to 2"):
        policy.train_last(3)


def test_an_untied_policy_computes_the_same_and_keeps_its_readout_through_a_folder(
    tmp_path: Path,
) -> None:
    policy = word_policy()
    ids = torch.tensor([[5, 6, 7, 8]])
    with torch.no_grad():
        before = policy.model(input_ids=ids).logits
        policy.untie()
        policy.untie()  # once is enough
        torch.testing.assert_close(policy.model(input_ids=ids).logits, before)
        policy.model.get_output_embeddings().weight[5] += 1.0
        changed = policy.model(input_ids=ids).logits
    assert not torch.equal(changed, before)
    policy.save(tmp_path / "model")
    again = Policy.load(tmp_path / "model")
    with torch.no_grad():
        torch.testing.assert_close(again.model(input_ids=ids).logits, changed)
    assert again.sha256() == policy.sha256()
