"""How much memory a model takes, worked out from what its repository says of it."""

from spark_activator.sizing.cache import CacheShape, kv_token_bytes
from spark_activator.sizing.estimate import cache_dtype_bytes, estimate, memory
from spark_activator.sizing.layers import UnknownShape
from spark_activator.sizing.weights import files_bytes, weights_bytes

__all__ = [
    "CacheShape",
    "UnknownShape",
    "cache_dtype_bytes",
    "estimate",
    "files_bytes",
    "kv_token_bytes",
    "memory",
    "weights_bytes",
]
