"""One file per detection head; the file name is the head's name in a spec.

Each has ``emit(writer, weights, spec, levels, output)``: it writes the head and its decode behind the neck's
maps ``levels``, and names the last tensor, which is in ``spec.layout``, ``output``.
"""
