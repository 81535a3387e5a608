"""Tables and one static page, made from the files of a run and nothing else."""
