"""Tables: the leaderboard, its details, and how they are written as CSV, Markdown, LaTeX and JSON."""
