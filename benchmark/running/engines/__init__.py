"""The engines: where jobs are executed side by side, and which goes next."""
