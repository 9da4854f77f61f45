"""The commands of the command line, one module each, or a folder whose parser.py has the options and imports nothing large."""
