"""Asking a language model behind an OpenAI-compatible server: a teacher, a judge, a policy."""
