"""How sharp the drift check is: changes that it must name, and changes in which there is nothing to name.

`mutations.py` and its neighbours are the list; `trial.py` tries one; `measure.py` prints the score.
The tests try the same list, so every claim here is also a test.
"""
