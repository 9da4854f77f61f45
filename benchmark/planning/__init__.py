"""Planning: presets, the jobs that they demand, and what these still lack."""
