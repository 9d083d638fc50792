/**
 * Imported before ONNX Runtime, whose builds for Linux and macOS since 1.29 otherwise tell Microsoft about every
 * session (hashes of graphs and weights among it) and leave an identifier of the machine in ~/.cache/Microsoft. It
 * looks at this variable when it is loaded, and once (microsoft/onnxruntime, pull requests 27379 and 29843). Whoever
 * has set it is left in charge; a worker thread has variables of its own that native code does not see, so who loads
 * gprune there sets it for the process.
 */
process.env.ORT_DISABLE_TELEMETRY ??= "1";
