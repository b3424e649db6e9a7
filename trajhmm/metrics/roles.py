"""Which parameters of a network count as what: matrices, heads, kernels, biases, or nothing."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any, TypeGuard

import numpy as np

Heads = int | tuple[int, int]
# Heads that a configuration may tell of, and configurations within each other.
_MOST_HEADS, _DEEPEST = 4096, 8
ROLES = ("matrix", "heads", "fused_heads", "kernels", "bias", "skip")

_EMBEDDING = re.compile(
    r"embed|(^|\.)(wte|wpe|emb|lm_head|W_(E|U|pos))(\.|$)|(^|\.)shared(\.weight)?$|relative_attention_bias",
    re.IGNORECASE,
)
_CONVOLUTION = re.compile(r"conv", re.IGNORECASE)
_POSITIONS = re.compile(r"pos(ition)?(al)?_", re.IGNORECASE)
_NORM = re.compile(r"norm|(^|[._])(ln|bn|gn)(_?(\d+|f|final|post|pre))?(\.|_|$)", re.IGNORECASE)
_BUFFER = re.compile(r"(^|\.)(running_mean|running_var|num_batches_tracked|inv_freq|masked_bias|position_ids|mask)$")
# Of arrays with more axes than a normalisation's: one that is called so to the end, as no ``normal_head`` is.
_NORM_AT_END = re.compile(r"norm(_?\d+)?(\.weight)?$", re.IGNORECASE)
_BIAS = re.compile(r"(^|[._])([Bb]ias|b)(_\w+)?$")
_PARAMETRIZED = re.compile(r"^(?P<layer>.*)(^|\.)parametrizations\.(?P<name>[^.]+)\.")
# Devices that know no double precision: what lies there is copied.
_SINGLE_ONLY = ("mps",)
_ONE_PROJECTION = re.compile(
    r"(^|\.)((q|k|v|query|key|value)(_proj|_lin|_linear|_proj_weight)?|to_[qkv]|W_[QKV])(\.weight)?$"
)
_FUSED_PROJECTIONS = re.compile(
    r"(^|\.)(qkv|qkv_proj|query_key_value|c_attn|in_proj_weight|in_proj_qkv|Wqkv)(\.weight)?$"
)
_KEY_OR_VALUE = re.compile(r"(^|\.)((k|v|key|value)(_proj|_lin|_linear|_proj_weight)?|to_[kv]|W_[KV])(\.weight)?$")
_PROJECTIONS = ((_FUSED_PROJECTIONS, "fused_heads"), (_ONE_PROJECTION, "heads"))
_BY_NAME = ((_BUFFER, "skip"), (_EMBEDDING, "skip"), (_NORM, "skip"), (_BIAS, "bias"), *_PROJECTIONS)
_WIDE_BY_NAME = ((_BUFFER, "skip"), (_EMBEDDING, "skip"), (_NORM_AT_END, "skip"), (_BIAS, "bias"), *_PROJECTIONS)


@dataclass(frozen=True, kw_only=True, eq=False)
class Parameter:
    """One parameter, what it counts as, and in how many heads it is split."""

    name: str
    role: str
    array: Any
    heads: int = 1

    @property
    def layer(self) -> str:
        """Its name without a trailing ``.weight``."""
        return self.name.removesuffix(".weight")

    def matrices(self) -> Iterator[Any]:
        """The matrices it holds; a convolution is (out, in × kernel)."""
        array = self.array
        if self.role == "kernels":
            yield array.reshape(array.shape[0], -1)
        elif array.ndim > 2:
            yield from array.reshape(-1, *array.shape[-2:])
        elif self.heads > 1:
            # The outputs of all heads stand along one axis: rows, or columns where weights are stored (in, out).
            columns = self.role == "fused_heads" and array.shape[1] > array.shape[0]
            size = array.shape[int(columns)] // self.heads
            for head in range(self.heads):
                part = slice(head * size, (head + 1) * size)
                yield array[:, part] if columns else array[part]
        else:
            yield array


def parameters_of(
    source: Any, *, heads: Heads | None = None, roles: Mapping[str, str] | None = None
) -> list[Parameter]:
    """Name the parameters of a network and say what each counts as.

    Embeddings (output embeddings such as ``lm_head`` too) and normalisation layers are left out. Query, key and value
    projections are split into heads where their number is known: from the module, its ``config``, or ``heads``.

    Parameters
    ----------
    source : a PyTorch module, or a mapping of names to arrays or tensors such as a state dict.
    heads : number of attention heads; (query heads, key-value heads) where they differ.
    roles : name pattern (``*.gate.weight``) to one of ``ROLES``; the first that matches decides. ``heads`` is one
        projection, its rows split in heads; ``fused_heads`` is query, key and value in one.

    Raises
    ------
    ValueError
        An unknown role, or a projection whose size does not divide by the heads.
    """
    roles = dict(roles or {})
    for pattern, role in roles.items():
        if role not in ROLES:
            raise ValueError(f"role {role!r} for {pattern!r}: expected one of {', '.join(ROLES)}")
    module = source if hasattr(source, "named_modules") else None
    known = _from_modules(module) if module is not None else {}
    named = _of_module(module) if module is not None else _untied(source)
    told = {} if module is None or heads is not None else _heads_within(module)
    found = []
    for key, values in named.items():
        name, array = key.replace("_orig_mod.", ""), measurable(values)  # torch.compile wraps modules
        asked = next((role for pattern, role in roles.items() if fnmatchcase(name, pattern)), None)
        role, count = known.get(key, ("", None))
        role = asked or role or _role_by_name(name, array, named)
        if role == "skip":
            continue
        if role in ("heads", "fused_heads"):
            split = count if count is not None else heads if heads is not None else _nearest(name, told)
            found.append(Parameter(name=name, role=role, array=array, heads=_split(name, role, array, split)))
        else:
            found.append(Parameter(name=name, role=role, array=array))
    return found


def _of_module(module: Any) -> dict[str, Any]:
    """Parameters by name; of one that is computed from others (``torch.nn.utils.parametrize``), what is computed."""
    named: dict[str, Any] = {}
    for name, values in module.named_parameters():
        made = _PARAMETRIZED.match(name)
        if made is None:
            named[name] = values
            continue
        layer = made["layer"].removesuffix(".")
        whole = f"{layer}.{made['name']}" if layer else made["name"]
        if whole not in named:
            named[whole] = _made(module.get_submodule(layer), made["name"])
    return named


def _made(layer: Any, name: str) -> Any:
    """A parameter that is computed, as in evaluation: in training some take a step of their own whenever looked at."""
    from torch import no_grad

    parts = list(layer.parametrizations[name].modules())
    training = [part.training for part in parts]
    try:
        for part in parts:
            part.training = False
        with no_grad():
            return getattr(layer, name).detach()
    finally:
        for part, before in zip(parts, training, strict=True):
            part.training = before


def _untied(named: Mapping[str, Any]) -> dict[str, Any]:
    """Arrays by name, those that are the same memory once, as a module tells its parameters."""
    seen, kept = set(), {}
    for name, values in named.items():
        place = _place_of(values)
        if place is None or place not in seen:
            kept[name] = values
            seen.add(place)
    return kept


def _place_of(values: Any) -> tuple[int, tuple[int, ...], str] | None:
    """Where an array of numpy or a tensor lies in memory, and how; None of others, which may be copied to tell it."""
    try:
        place = values.ctypes.data if isinstance(values, np.ndarray) else values.data_ptr()
    except (AttributeError, RuntimeError, TypeError):
        return None
    return (int(place), tuple(values.shape), str(values.dtype)) if place and 0 not in values.shape else None


def _heads_within(module: Any) -> dict[str, Heads | None]:
    """Heads that modules tell of by a ``config`` of their own: of a part that sees, and of one that reads."""
    own = {path: heads_of(layer.config) for path, layer in module.named_modules() if hasattr(layer, "config")}
    return {path: heads for path, heads in own.items() if heads is not None}


def _nearest(name: str, told: Mapping[str, Heads | None]) -> Heads | None:
    """What the innermost module tells in which a parameter lies."""
    around = [path for path in told if not path or name.startswith(f"{path.replace('_orig_mod.', '')}.")]
    return told[max(around, key=len)] if around else None


def heads_of(config: object) -> Heads | None:
    """Attention heads that a Hugging Face configuration tells of: an object, or what its ``config.json`` holds."""
    return _heads_of(config, 0)


def _heads_of(config: object, depth: int) -> Heads | None:
    if config is None or depth > _DEEPEST:
        return None

    def told(name: str) -> object:
        return config.get(name) if isinstance(config, Mapping) else getattr(config, name, None)

    for name in ("num_attention_heads", "n_head", "num_heads", "n_heads"):
        if _can_be_heads(count := told(name)):
            shared = next((told(name) for name in ("num_key_value_heads", "num_kv_heads") if told(name)), None)
            return (count, shared) if _can_be_heads(shared) and shared != count else count
    return _heads_of(told("text_config"), depth + 1)


def _can_be_heads(told: object) -> TypeGuard[int]:
    """Whether what a configuration tells can be a number of heads; some write 0 or a list where there are none."""
    return isinstance(told, int) and not isinstance(told, bool) and 1 <= told <= _MOST_HEADS


def _split(name: str, role: str, array: Any, heads: Heads | None) -> int:
    if heads is None or array.ndim > 2:
        return 1
    queries, others = (heads, heads) if isinstance(heads, int) else heads
    if role == "fused_heads":
        count, size = queries + 2 * others, max(array.shape)
    else:
        count, size = others if _KEY_OR_VALUE.search(name) else queries, array.shape[0]
    if size % count:
        raise ValueError(
            f"{name}: {size} outputs do not divide into {count} heads; set heads, or roles={{{name!r}: 'matrix'}}"
        )
    return count


def _from_modules(module: Any) -> dict[str, tuple[str, int | None]]:
    """Roles that the types of PyTorch's own layers decide, and the heads of its attention."""
    from torch import nn

    norms = (nn.LayerNorm, nn.GroupNorm, nn.RMSNorm, nn.modules.batchnorm._NormBase)  # noqa: SLF001
    known: dict[str, tuple[str, int | None]] = {}
    for path, layer in module.named_modules():
        prefix = f"{path}." if path else ""
        if isinstance(layer, (nn.Embedding, nn.EmbeddingBag, *norms)):
            known |= {f"{prefix}{name}": ("skip", None) for name, _ in layer.named_parameters(recurse=False)}
        elif isinstance(layer, nn.modules.conv._ConvNd):  # noqa: SLF001
            known |= {f"{prefix}weight": ("kernels", None), f"{prefix}bias": ("bias", None)}
        elif isinstance(layer, nn.Linear) and not _EMBEDDING.search(f"{prefix}weight"):
            known[f"{prefix}weight"] = (_named(f"{prefix}weight", _PROJECTIONS), None)
        elif isinstance(layer, nn.MultiheadAttention):
            known[f"{prefix}in_proj_weight"] = ("fused_heads", layer.num_heads)
            known |= {f"{prefix}{one}_proj_weight": ("heads", layer.num_heads) for one in "qkv"}
            known |= {f"{prefix}{name}": ("bias", None) for name in ("in_proj_bias", "bias_k", "bias_v")}
    return known


def _named(name: str, roles: Sequence[tuple[re.Pattern[str], str]]) -> str:
    """The first role whose pattern a name holds; a matrix, if none."""
    return next((role for pattern, role in roles if pattern.search(name)), "matrix")


def _role_by_name(name: str, array: Any, named: Mapping[str, Any]) -> str:
    if array.ndim == 0 or 0 in array.shape or not _is_floating(array):
        return "skip"
    # The vector of a layer goes with its matrix: a normalisation has none, and a convolution may be called embedding.
    owner = named.get(name.removesuffix("bias") + "weight") if name.endswith("bias") else None
    if owner is not None and _is_convolution(name, owner):
        return "bias"
    if array.ndim > 1 and name.endswith(".bias") and array.shape[-1] == array.shape[-2]:
        return "skip"  # the causal mask of GPT-2 and its like
    if _is_convolution(name, array):
        return "kernels"
    wide = array.ndim > 1
    role = _named(name, _WIDE_BY_NAME if wide else _BY_NAME)
    if wide or role == "skip":
        return role
    return "bias" if role == "bias" and (owner is None or owner.ndim > 1) else "skip"


def _is_convolution(name: str, array: Any) -> bool:
    if array.ndim < 3 or _POSITIONS.search(name):
        return False
    return array.ndim > 3 or _CONVOLUTION.search(name) is not None


def measurable(array: Any) -> Any:
    """A tensor in the main memory as numpy's view of it; what lies on another device stays there."""
    if not hasattr(array, "detach"):
        return np.asarray(array)
    tensor = array.detach()
    if getattr(tensor, "is_sparse", False):  # of which the entries that are there have the same norm
        tensor = tensor.coalesce().values()
    if tensor.device.type in _SINGLE_ONLY:
        tensor = tensor.cpu()
    if tensor.device.type != "cpu":
        return tensor
    wide = tensor.float() if tensor.dtype.itemsize < 4 and tensor.is_floating_point() else tensor
    return wide.numpy()


def _is_floating(array: Any) -> bool:
    return bool(array.is_floating_point() if hasattr(array, "is_floating_point") else array.dtype.kind == "f")
