"""The key-value cache of one wave, laid out so that a decode step builds no mask.

Columns of a wave, the same for all rows:

    0 ........... O ........... O+C .........
    [cached prefix] [new prompt ] [decoded    ]
      right-aligned  right-aligned  in lockstep

Row i holds its cached prefix at the end of `[0, O)` and its new ids at the end of `[O, O+C)`; the
rest of both parts is a gap that the row's mask hides for good. All rows therefore write each
decoded token to the same column, keys and values are slices and not copies, and the mask of a step
is a prefix of one that was made once.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import torch
from transformers.cache_utils import Cache, CacheLayerMixin

from forethought.errors import MissingError


@dataclass(frozen=True, slots=True, kw_only=True)
class KvLayout:
    """Shape of a model's keys and values, found out by a forward pass on one token."""

    layers: int
    heads: int  # key-value heads
    dim: int  # of one head
    dtype: torch.dtype
    device: torch.device
    window: int | None  # narrowest sliding window; None = all layers see everything
    slides: Literal["none", "some", "all", "unknown"]  # which layers have it; unknown: windows that
    # differ, or move by chunks


def probe_layout(model: Any) -> KvLayout:
    """The layout of any causal language model with ordinary attention.

    Raises:
        MissingError: the model keeps a state of another kind, or layers of unequal shape.
    """
    ids = torch.zeros((1, 1), dtype=torch.long, device=model.device)
    with torch.inference_mode():
        cache = model(input_ids=ids, use_cache=True, logits_to_keep=1).past_key_values
    layers = list(getattr(cache, "layers", ()))
    keys = [getattr(layer, "keys", None) for layer in layers]
    values = [getattr(layer, "values", None) for layer in layers]
    tensors = [*keys, *values]
    shapes = {None if t is None else tuple(t.shape) for t in tensors}
    if len(shapes) != 1 or None in shapes:
        raise MissingError(
            f"a batched cache for {type(model).__name__}: its layers do not all keep keys and "
            "values of one shape",
            next_step="use a model with ordinary attention in every layer, or another back-end",
        )
    first = keys[0]
    assert first is not None
    # Under autocast rotated keys are float32 and values are not; attention narrows both.
    dtypes = {t.dtype for t in tensors if t is not None}
    windows = [layer.sliding_window for layer in layers if getattr(layer, "is_sliding", False)]
    config = model.config.get_text_config(decoder=True)
    kinds = set(getattr(config, "layer_types", None) or ["sliding_attention"])
    slides: Literal["none", "some", "all", "unknown"] = "none"
    if windows and (len(set(windows)) > 1 or not kinds <= {"full_attention", "sliding_attention"}):
        slides = "unknown"
    elif windows:
        slides = "all" if len(windows) == len(layers) else "some"
    return KvLayout(
        layers=len(layers),
        heads=first.shape[1],
        dim=first.shape[3],
        dtype=min(dtypes, key=lambda dtype: dtype.itemsize),
        device=first.device,
        window=min(windows) if windows else None,
        slides=slides,
    )


def kv_shape(layout: KvLayout, rows: int, columns: int) -> tuple[int, ...]:
    """[2 * layers, B, K, S, D]: slices 2 l and 2 l + 1 are the keys and the values of layer l."""
    return (2 * layout.layers, rows, layout.heads, columns, layout.dim)


class _WaveLayer(CacheLayerMixin):  # type: ignore[misc,unused-ignore]
    """One layer's view of the wave's tensor; where to write is decided by `WaveCache.point`."""

    def __init__(self) -> None:
        super().__init__()
        self.begin = 0
        self.is_initialized = True

    def lazy_initialization(self, key_states: torch.Tensor, value_states: torch.Tensor) -> None:
        """Nothing to do: the wave allocates."""

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, *args: Any, **kwargs: Any
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Writes at the columns in turn; returns all columns so far ([B, K, E, D] each)."""
        begin, end = self.begin, self.begin + key_states.shape[-2]
        assert self.keys is not None
        assert self.values is not None
        self.keys[:, :, begin:end] = key_states
        self.values[:, :, begin:end] = value_states
        return self.keys[:, :, :end], self.values[:, :, :end]

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:
        """Width and offset of the mask."""
        return self.begin + query_length, 0

    def get_seq_length(self) -> int:
        """Columns in use, gaps included."""
        return self.begin

    def get_max_length(self) -> int:
        """No maximum: the wave grows."""
        return -1


class WaveCache(Cache):  # type: ignore[misc,unused-ignore]
    """Keys and values of the rows of one wave in one tensor, see `kv_shape`."""

    def __init__(self, layout: KvLayout, rows: int, columns: int) -> None:
        """Allocates for `rows` (B) and `columns` (S)."""
        super().__init__(layers=[_WaveLayer() for _ in range(layout.layers)])
        self.layout = layout
        # Zeros: a gap is masked, but 0 * NaN from fresh memory would be NaN.
        self.store = torch.zeros(
            kv_shape(layout, rows, columns), dtype=layout.dtype, device=layout.device
        )

    @property
    def columns(self) -> int:
        """Columns that fit."""
        return self.store.shape[3]

    def point(self, begin: int, rows: slice = slice(None)) -> None:
        """Sets what the next forward pass works on: `rows`, writing from column `begin` on."""
        for number, layer in enumerate(self.layers):
            layer.keys = self.store[2 * number, rows]
            layer.values = self.store[2 * number + 1, rows]
            layer.begin = begin

    def advance(self, begin: int) -> None:
        """As `point` with the same rows: only the column moves."""
        for layer in self.layers:
            layer.begin = begin

    def put(self, row: int, end: int, kv: torch.Tensor) -> None:
        """Copies [2 * layers, K, n, D] into columns `[end - n, end)` of a row."""
        self.store[:, row, :, end - kv.shape[2] : end] = kv

    def take(self, row: int, begin: int, end: int, before: torch.Tensor | None) -> torch.Tensor:
        """A copy of columns `[begin, end)` of a row, after `before` ([2 * layers, K, n, D])."""
        part = self.store[:, row, :, begin:end]
        return part.clone() if before is None else torch.cat([before, part], dim=2)

    def rearrange(self, rows: torch.Tensor | None, used: int, columns: int) -> None:
        """Keeps `rows` (indices, repeats allowed; None = all), with room for `columns`.

        Args:
            rows: [B'] indices into the current rows.
            used: columns in use, which are copied.
            columns: new capacity, >= used.
        """
        old = self.store[:, :, :, :used]
        count = old.shape[1] if rows is None else len(rows)
        shape = (old.shape[0], count, old.shape[2], columns, old.shape[4])
        new = torch.empty(shape, dtype=old.dtype, device=old.device)
        for number in range(old.shape[0]):
            new[number, :, :, :used] = old[number] if rows is None else old[number][rows]
        self.store = new
        self.point(used)


def prefill_mask(
    cached: torch.Tensor, new: torch.Tensor, edges: tuple[int, int], width: int
) -> torch.Tensor:
    """Who sees whom in a right-aligned chunk of new ids.

    Args:
        cached: [B] lengths of the cached prefixes.
        new: [B] lengths of the new parts, each <= width.
        edges: (O, O + C), the ends of the two parts of the layout.
        width: queries of the chunk, in the columns `[O + C - width, O + C)`.

    Returns:
        [B, width, O + C] bool. A query of the padding sees itself only, so that its numbers stay
        finite; nobody else sees it.
    """
    end = edges[1]
    column = torch.arange(end, device=new.device)
    query = column[end - width :]
    visible = visible_columns(cached, new, edges)
    causal = column[None, :] <= query[:, None]
    own = column[None, :] == query[:, None]
    return (visible[:, None, :] & causal[None]) | own[None]


def visible_columns(
    cached: torch.Tensor, new: torch.Tensor, edges: tuple[int, int]
) -> torch.Tensor:
    """[B, O + C] bool: the columns of a row that are not gaps."""
    old_end, end = edges
    column = torch.arange(end, device=new.device)[None, :]
    old_begin = old_end - cached[:, None]
    new_begin = end - new[:, None]
    return ((column >= old_begin) & (column < old_end)) | (column >= new_begin)


def additive(mask: torch.Tensor, layout: KvLayout) -> torch.Tensor:
    """0 where `mask` is true, else the lowest finite number, in the model's type."""
    zeros = torch.zeros(mask.shape, dtype=layout.dtype, device=mask.device)
    return zeros.masked_fill_(~mask, torch.finfo(layout.dtype).min)


def column_positions(
    cached: torch.Tensor, new: torch.Tensor, edges: tuple[int, int], columns: int
) -> torch.Tensor:
    """[B, columns] position in its sequence of what stands in a column; any number >= 0 in a gap.

    Windows count positions: a cached prefix and the new ids behind it may be columns apart.
    """
    old_end, end = edges
    column = torch.arange(columns, device=new.device)[None, :]
    known, fresh = cached[:, None], new[:, None]
    places = torch.where(column < old_end, column - old_end, column - end + fresh) + known
    return places.clamp_(min=0)


def windowed(
    mask: torch.Tensor, places: torch.Tensor, positions: torch.Tensor, layout: KvLayout
) -> torch.Tensor | dict[str, torch.Tensor]:
    """The mask in the form that a model with sliding windows takes.

    Args:
        mask: [B, 1, Q, E] additive, of layers that see everything.
        places: [B, E or more] positions of the columns.
        positions: [B, Q] of the queries; a query sees `window` positions, its own included.
        layout: of the model; some or all of its layers have a window.

    Returns:
        One mask where all layers have the window, else one for each kind of layer by its name.
    """
    assert layout.window is not None
    nearest = positions[:, None, :, None] - layout.window  # of those that are out of sight
    far = places[:, None, None, : mask.shape[-1]] <= nearest
    near = mask.masked_fill(far, torch.finfo(mask.dtype).min)
    if layout.slides == "all":
        return near
    return {"full_attention": mask, "sliding_attention": near}
