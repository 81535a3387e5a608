"""Tasks, corpora, models and public data sets, from files or a hub."""
