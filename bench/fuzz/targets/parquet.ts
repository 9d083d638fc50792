/** Parquet files of texts and conversations in all encodings of the writer, with damaged pages and footers. */
import { readdirSync } from "node:fs";
import { join } from "node:path";
import fc from "fast-check";
import { parquetOf } from "../../../test/parquet_builder.ts";
import type { FuzzTarget } from "../harness.ts";
import { damaged, overwritten } from "../mutate.ts";
import { readInProcess } from "../parquet_process.ts";

const TEXTS = ["one", "zwei ü 🙂", "one", "x".repeat(200), ""];
const CHATS = TEXTS.map((content, turn) => [{ role: turn % 2 === 0 ? "user" : "assistant", content }]);

const whole = fc
  .record({
    columns: fc.constantFrom<Readonly<Record<string, readonly unknown[]>>>(
      { text: TEXTS },
      { text: [...TEXTS, null, "drei"] },
      { id: ["1", "2", "3", "4", "5"], content: TEXTS },
      { messages: CHATS },
      { body: TEXTS, conversations: CHATS },
    ),
    codec: fc.constantFrom("SNAPPY", "UNCOMPRESSED"),
    rowGroupSize: fc.constantFrom(2, 100),
    statistics: fc.boolean(),
  })
  .map(({ columns, ...options }) => parquetOf(columns, options));

/** Requests by file name. */
const REQUESTS = {
  "texts.parquet": { maxBytes: 1000 },
  "chats.parquet": { maxBytes: 1000, chats: true },
  "rows.parquet": { rows: 10 },
} as const;

export const parquetTarget: FuzzTarget = {
  name: "parquet",
  share: 2,
  files: fc
    .tuple(
      fc.constantFrom(...Object.keys(REQUESTS)),
      fc.oneof({ arbitrary: overwritten(whole), weight: 3 }, { arbitrary: damaged(whole), weight: 1 }),
    )
    .map(([name, bytes]) => ({ [name]: bytes })),
  open: async (directory) => {
    const [name] = readdirSync(directory) as (keyof typeof REQUESTS)[];
    await readInProcess({ path: join(directory, name!), ...REQUESTS[name!] });
    return undefined;
  },
};
