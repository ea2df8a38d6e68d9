"""The ways in which frames arrive: one at a time, at the rate of a camera, from several, or all at once."""
