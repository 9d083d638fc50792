/** Overwrites a value of a tensor in a .safetensors file, as a damaged disk or a failed training would. */
import { readFile, writeFile } from "node:fs/promises";

/** Replaces the tensor's first element, which must be F32. */
export async function poisonTensor(path: string, name: string, value: number): Promise<void> {
  const bytes = await readFile(path);
  const headerEnd = 8 + Number(bytes.readBigUInt64LE(0));
  const header = JSON.parse(bytes.toString("utf8", 8, headerEnd)) as Record<
    string,
    { data_offsets: [number, number] }
  >;
  bytes.writeFloatLE(value, headerEnd + header[name]!.data_offsets[0]);
  await writeFile(path, bytes);
}
