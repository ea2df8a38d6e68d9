"""Options of ``edgestill bench``: scenario, baseline, peers, suites."""
