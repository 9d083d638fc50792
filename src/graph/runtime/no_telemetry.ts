/**
 * Disables the telemetry of ONNX Runtime, whose builds for Linux and macOS since 1.29 otherwise report every session to
 * Microsoft (with hashes of graphs and weights) and leave a machine identifier in ~/.cache/Microsoft. Must be imported
 * first: ONNX Runtime reads this variable once, when it is loaded (microsoft/onnxruntime, pull requests 27379 and
 * 29843). A value that is set already is left alone. Native code does not see the variables of a worker thread, so a
 * program that loads gprune in one sets the variable for the process.
 */
process.env.ORT_DISABLE_TELEMETRY ??= "1";
