"""``edgestill bench --peers``: accuracy of the files, and the table."""
