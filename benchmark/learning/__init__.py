"""Learning: the context that a learning method is given, and stored methods restored from checkpoints."""
