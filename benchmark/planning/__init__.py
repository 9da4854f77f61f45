"""Planning: presets, the jobs that they demand, and what is stored already."""
