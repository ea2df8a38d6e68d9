"""Deploy, build, verify, measure and run on a device that ssh reaches."""
