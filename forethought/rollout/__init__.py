"""Rollouts: token in, token out, through any back-end that speaks `rollout.backend`."""
