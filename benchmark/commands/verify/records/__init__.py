"""The stored tables of a run: each is compared with the other tables and with the data set. No classifier is made."""
