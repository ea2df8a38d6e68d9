"""One file per data set format; the file name is the format's name.

Each offers ``read(source, *, images=None, ...) -> SourceDataset``: the labels of a folder as it was
downloaded, and where each image of it lies, in that folder or in ``images``. Other keyword arguments of
``read`` are options of that format alone. An object that cannot be read is counted
(``SourceDataset.objects_of``), and its image is left out. What follows is common to all:
``distill.datasets.convert``.
"""
