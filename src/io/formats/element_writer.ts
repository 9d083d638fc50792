/** Writing of one tensor's elements into a file, a piece at a time, whatever encodes them. */
import { GpruneError } from "../../errors.ts";
import { elementCount, type Tensor } from "../../tensor/tensor.ts";
import type { OutputFile } from "../files/output_file.ts";

/** A tensor that is declared before it is there; `read` is called once, when its turn comes. */
export interface DeclaredTensor {
  readonly name: string;
  /** Outermost axis first. */
  readonly shape: readonly number[];
  /** Must give a tensor of `shape`. */
  readonly read: () => Promise<Tensor>;
}

/** How elements are written. */
export interface ElementWriting {
  readonly encode: (values: Float32Array) => Uint8Array;
  /** Elements that are encoded at a time. */
  readonly chunk: number;
  /** Called after every piece that is written, with its number of bytes. */
  readonly onBytes: (bytes: number) => void;
}

/**
 * Reads a tensor and writes its elements.
 * @throws GpruneError BAD_TENSOR for a tensor of another shape than declared; OUTPUT_FAILED when the file system
 * refuses
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

/** Error BAD_TENSOR for one that cannot be written. */
export function badTensor(name: string, expected: string, got: string): GpruneError {
  return new GpruneError("BAD_TENSOR", `${name}: expected ${expected}, got ${got}`);
}
