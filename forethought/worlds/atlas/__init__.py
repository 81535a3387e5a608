"""Atlas: a search world in which an early choice has consequences that must be chained.

A question lists three routes of two or three links to the same answer. Hazards lie mostly on the
later links and obey a hidden law; the budget forbids trying two routes in full. `law` draws the
physics, `world` the facts, `text` prints and reads them, `oracle` knows every success probability,
`policies` are the scripted players, `tokens` the words.
"""
