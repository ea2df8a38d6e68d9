/* In the place of TensorRT's libraries, so that NVIDIA's Python bindings can be imported without a GPU.
 *
 * It has the functions that the bindings of 8.6 to 11 link to. All of them return zero: no builder, runtime or
 * parser is made, as on a machine without a driver. The bindings call them with other parameters, which a C
 * function that reads none may ignore.
 */

#define ENTRY(name) long name(void) { return 0; }

ENTRY(createInferBuilder_INTERNAL)
ENTRY(createInferRefitter_INTERNAL)
ENTRY(createInferRuntime_INTERNAL)
ENTRY(createNvOnnxParser_INTERNAL)
ENTRY(createNvOnnxParserRefitter_INTERNAL)
ENTRY(getBuilderPluginRegistry)
ENTRY(getNvOnnxParserVersion)
ENTRY(getPluginRegistry)
ENTRY(initLibNvInferPlugins)

/* Of the Caffe and UFF parsers, which ended with 8.6; the names are those of the C++ functions. */
ENTRY(_ZN11nvuffparser15createUffParserEv)
ENTRY(_ZN11nvuffparser8FieldMapC1EPKcPKvNS_9FieldTypeEi)
ENTRY(_ZN14nvcaffeparser117createCaffeParserEv)
ENTRY(_ZN14nvcaffeparser123shutdownProtobufLibraryEv)
