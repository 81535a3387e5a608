"""In-process `transformers` back-end."""
