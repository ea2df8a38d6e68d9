"""One file per detection head; the file name is the head's name in a spec.

Each writes itself in two parts, so that a file may have another decode than the one it was quantised with:

- ``emit(writer, weights, spec, levels)``: the head behind the neck's maps ``levels``, up to its own
  ``maps(spec)``, the names of the tensors that a decode begins with, float32 at every precision;
- ``every_box(writer, spec, grid, output)``: all boxes in the head's raw layout, as the tensor ``output``;
- ``best_boxes(writer, spec, grid, limit)``: the boxes with the best scores, see ``export.graph.topk.Boxes``.
"""
