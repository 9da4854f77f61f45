"""The engine `ray`: jobs as tasks of a Ray cluster. Ray is imported in this folder alone."""
