"""Studies: grids of trainings, their table, and significance tests."""
