/** Caches of exported ONNX files, apart from onnxruntime-node, of which the clients have a copy of their own. */

/** The input that an output of the cache becomes: of keys and values, or of a convolution. */
export function pastName(present: string): string {
  return present.replace(/^present\./, "past_key_values.").replace(/^present_/, "past_");
}

/** The shape of an input of the cache without tokens, from the one that the file declares. */
export function emptyShape(declared: readonly (number | string)[], batch: number): readonly number[] {
  return declared.map((dim) => (typeof dim === "number" ? dim : dim === "batch_size" ? batch : 0));
}
