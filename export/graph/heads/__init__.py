"""Detection heads, one module each; its name is the head's name in a spec.

A head and its decode are written separately, so that a file may have another decode than the one with which
it was quantised. Each module has

- ``write_head(writer, weights, spec, levels)``: the layers behind the neck's feature maps ``levels``;
- ``maps(spec)``: the names of their outputs, the inputs of a decode, float32 at every precision;
- ``write_all_boxes(writer, spec, grid, output)``: the decode of all boxes in the raw layout, as ``output``;
- ``write_best_boxes(writer, spec, grid, limit)``: the decode of the best boxes, see ``export.graph.topk``.
"""
