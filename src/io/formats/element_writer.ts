/** Writing of one tensor's elements to a file in chunks, with any encoding. */
import { GpruneError } from "../../errors.ts";
import { elementCount, type Tensor } from "../../tensor/tensor.ts";
import type { OutputFile } from "../files/output_file.ts";

/** A tensor whose name and shape are known before its values; `read` is called once, when it is to be written. */
export interface DeclaredTensor {
  readonly name: string;
  /** Outermost axis first. */
  readonly shape: readonly number[];
  /** Must return a tensor of `shape`. */
  readonly read: () => Promise<Tensor>;
}

/** Options of {@link writeElements}. */
export interface ElementWriting {
  readonly encode: (values: Float32Array) => Uint8Array;
  /** Elements encoded at a time. */
  readonly chunk: number;
  /** Called with the number of bytes after every write. */
  readonly onBytes: (bytes: number) => void;
}

/**
 * Reads a tensor and writes its elements.
 * @throws GpruneError BAD_TENSOR when the shape is not the declared one; OUTPUT_FAILED when the file system refuses
 */
export async function writeElements(
  file: OutputFile,
  tensor: DeclaredTensor,
  { encode, chunk, onBytes }: ElementWriting,
): Promise<void> {
  const { shape, data } = await tensor.read();
  const declared = tensor.shape.join(", ");
  if (shape.join(", ") !== declared || data.length !== elementCount(shape)) {
    throw badTensor(tensor.name, `shape [${declared}]`, `[${shape.join(", ")}] with ${data.length} elements`);
  }
  for (let done = 0; done < data.length; done += chunk) {
    const bytes = encode(data.subarray(done, done + chunk));
    await file.write(bytes);
    onBytes(bytes.length);
  }
}

/** Error BAD_TENSOR for a tensor that cannot be written. */
export function badTensor(name: string, expected: string, got: string): GpruneError {
  return new GpruneError("BAD_TENSOR", `${name}: expected ${expected}, got ${got}`);
}
