"""Commands on the folder of stored runs: `status`, `pack`, `merge`."""
