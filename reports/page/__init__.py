"""The report's page: one HTML file with every board, and the guide to the checks."""
