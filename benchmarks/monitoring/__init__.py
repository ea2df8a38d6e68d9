"""What power sensors, clocks and thermometers said during a measurement."""
