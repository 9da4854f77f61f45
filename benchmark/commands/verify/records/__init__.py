"""The stored tables of a run: each is held against itself, the other tables and the data set. No classifier is made."""
