"""Training algorithms: objectives of their own, and their settings. One file each."""
