"""Progress of jobs, counted from their events: shown on the screen, kept in a file for other terminals, drawn as curves."""
