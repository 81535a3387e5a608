"""Synthetic task sources with an exact oracle. They make tasks and pages, never environments."""
