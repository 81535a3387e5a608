"""What an agent may call: a search engine and a Python interpreter under limits."""
