"""Studies: grids of trainings, their table, and what in it is more than chance."""
