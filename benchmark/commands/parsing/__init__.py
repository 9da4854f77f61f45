"""Options of commands, and the names that a shell completes."""
