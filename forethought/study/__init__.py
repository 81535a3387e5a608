"""A study: cells of factors over seeds, run from shared stages, and what they say of its claims."""
