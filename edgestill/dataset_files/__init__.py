"""The files of a data set: ``data.yaml``, label files, image files, and what is no part of a set."""
