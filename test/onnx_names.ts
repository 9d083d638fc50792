/** Names of exported ONNX files, apart from onnxruntime-node, of which the clients have a copy of their own. */

/** The input that an output of the cache becomes: of keys and values, or of a convolution. */
export function pastName(present: string): string {
  return present.replace(/^present\./, "past_key_values.").replace(/^present_/, "past_");
}
