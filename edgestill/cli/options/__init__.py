"""Groups of command-line options that several verbs share."""
