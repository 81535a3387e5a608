"""Weights and how they change: policies, optimisers, one stage-blind trainer, checkpoints.

`policy` loads and saves a model with its tokenizer, `tiny` makes small ones from scratch, `optim`
and `trainer` take one optimiser step from training sequences, `guards` stop a step that would be
wrong, `checkpoint` lets a killed run go on to the same bytes, `levels` reads the 21 probabilities
behind a stated estimate.
"""
