/** Builds Parquet files of texts and conversations. */
import { parquetWriteBuffer } from "hyparquet-writer";

type Options = Parameters<typeof parquetWriteBuffer>[0];
type SchemaElement = NonNullable<Options["schema"]>[number];

/** A file with columns of texts or of lists of messages. @param options - of the writer */
export function parquetOf(
  columns: Readonly<Record<string, readonly unknown[]>>,
  options: Partial<Options> = {},
): Uint8Array {
  const message = [
    { name: "role", type: "BYTE_ARRAY", converted_type: "UTF8", repetition_type: "OPTIONAL" },
    { name: "content", type: "BYTE_ARRAY", converted_type: "UTF8", repetition_type: "OPTIONAL" },
  ] as const;
  const schema = Object.entries(columns).flatMap(([name, [first]]): readonly SchemaElement[] =>
    typeof first === "string"
      ? [{ name, type: "BYTE_ARRAY", converted_type: "UTF8", repetition_type: "OPTIONAL" } as const]
      : [
          { name, converted_type: "LIST", repetition_type: "OPTIONAL", num_children: 1 } as const,
          { name: "list", repetition_type: "REPEATED", num_children: 1 } as const,
          { name: "element", repetition_type: "OPTIONAL", num_children: 2 } as const,
          ...message,
        ],
  );
  const root = { name: "root", num_children: Object.keys(columns).length };
  const columnData = Object.entries(columns).map(([name, data]) => ({ name, data: [...data] }));
  return new Uint8Array(parquetWriteBuffer({ ...options, columnData, schema: [root, ...schema] }));
}
