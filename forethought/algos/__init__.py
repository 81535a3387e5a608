"""From judged rollouts to per-token weights and losses: numbers a rollout, a turn, a token.

`advantages` holds group statistics, `credit` the profiles that turn episodes into advantages of
each span, `values` the fitted baseline, `batching`, `prefixes` and `packing` the way to training
rows, `losses` the loss terms. Only `losses` imports torch and only `packing` imports numpy.
"""
