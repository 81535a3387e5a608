"""Workbook: a world of sums in which a way of calculating may die on a bound that can be foreseen.

A task asks what an account holds after a number of days, with a bounded number of tool calls. A
direct loop, split loops and a closed form lead to the same number; fuel, size and divisibility kill
some of them. `physics` is what a call prints, `routes` the ways, `law` draws tasks, `text` prints
and reads them, `oracle` knows every success probability, `policies` are the scripted players.
"""
