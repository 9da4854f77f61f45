"""Ties of a network to what it was: penalties on moving weights, the importance of weights, distillation."""
