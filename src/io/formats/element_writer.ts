/** Writing of one tensor's elements to a file, some rows at a time and with any encoding. */
import { GpruneError } from "../../errors.ts";
import { elementCount, type RowRange, shapeText, type Tensor } from "../../tensor/tensor.ts";
import type { OutputFile } from "../files/output_file.ts";

/** A tensor whose name and shape are known before its values, which are read when they are to be written. */
export interface DeclaredTensor {
  readonly name: string;
  /** Outermost axis first. */
  readonly shape: readonly number[];
  /** Must return a tensor of `shape`, or these rows of it. */
  readonly read: (rows?: RowRange) => Promise<Tensor>;
  /** Whether `read` can take rows without those around them; it is called once, without rows, where absent. */
  readonly byRows?: boolean;
}

/** Elements read at a time from a tensor that can be read by rows, unless a row has more: 256 MiB in float32. */
export const READ_ELEMENTS: number = 2 ** 26;

/** Options of {@link writeElements}. */
export interface ElementWriting {
  readonly encode: (values: Float32Array) => Uint8Array;
  /** Elements encoded at a time. */
  readonly chunk: number;
  /** Called with the number of bytes after every write. */
  readonly onBytes: (bytes: number) => void;
}

/**
 * Reads a tensor and writes its elements; a large one that can be read by rows is never whole in memory.
 * @throws GpruneError BAD_TENSOR when the shape is not the declared one; OUTPUT_FAILED when the file system refuses
 */
export async function writeElements(
  file: OutputFile,
  tensor: DeclaredTensor,
  { encode, chunk, onBytes }: ElementWriting,
): Promise<void> {
  for await (const data of piecesOf(tensor)) {
    for (let done = 0; done < data.length; done += chunk) {
      const bytes = encode(data.subarray(done, done + chunk));
      await file.write(bytes);
      onBytes(bytes.length);
    }
  }
}

/** The elements of a tensor in order, whole rows at a time. */
async function* piecesOf({
  name,
  shape,
  byRows = false,
  read,
}: DeclaredTensor): AsyncGenerator<Float32Array> {
  const [count = 1] = shape;
  const rowElements = elementCount(shape.slice(1));
  const step = byRows ? Math.max(1, Math.floor(READ_ELEMENTS / rowElements)) : count;
  if (step >= count) return yield checked(name, await read(), shape);
  for (let start = 0; start < count; start += step) {
    const end = Math.min(count, start + step);
    yield checked(name, await read({ start, end }), shape.with(0, end - start));
  }
}

function checked(name: string, { shape, data }: Tensor, declared: readonly number[]): Float32Array {
  if (shape.join() === declared.join() && data.length === elementCount(shape)) return data;
  throw badTensor(name, `shape ${shapeText(declared)}`, `${shapeText(shape)} with ${data.length} elements`);
}

/** Error BAD_TENSOR for a tensor that cannot be written. */
export function badTensor(name: string, expected: string, got: string): GpruneError {
  return new GpruneError("BAD_TENSOR", `${name}: expected ${expected}, got ${got}`);
}
