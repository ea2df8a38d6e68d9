"""One file per data set format; the file name is the format's name.

Each offers ``read(source, ...) -> Source``: the labels of a folder as it was downloaded, and where each
image of it lies. Keyword arguments of ``read`` are options of that format alone. What follows is common to
all: ``distill.datasets.convert``.
"""
