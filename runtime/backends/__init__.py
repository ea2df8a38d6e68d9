"""One file per inference library; the file name is the backend's name."""
