/** Index files of sharded checkpoints with wrong file names, wrong tensors, or invalid JSON. */
import { join } from "node:path";
import fc from "fast-check";
import { INDEX_FILE, openCheckpointTensors, shardNames } from "../../../src/io/formats/safetensors_shards.ts";
import { float32File } from "../../../test/safetensors_builder.ts";
import type { FuzzTarget } from "../harness.ts";
import { damaged, jsonBytes, tamperedJson } from "../mutate.ts";

const ONE = "model-00001-of-00002.safetensors";
const TWO = "model-00002-of-00002.safetensors";
const SHARDS = { [ONE]: float32File({ a: [1, 2], b: [3] }), [TWO]: float32File({ c: [4], d: [] }) };

/** Names of files that exist, that are missing, and that must never be opened. */
const fileName = fc.oneof(
  { arbitrary: fc.constantFrom(ONE, TWO), weight: 6 },
  {
    arbitrary: fc.constantFrom(
      ...["../evil.safetensors", "/etc/evil.safetensors", "C:evil.safetensors", "\\\\host\\evil.safetensors"],
      ...["..\\evil.safetensors", "http://evil/x.safetensors", "evil.bin", ".safetensors", "a/b.safetensors"],
      ...["\u0000.safetensors", `${"x".repeat(300)}.safetensors`, "missing.safetensors", "..", ""],
    ),
    weight: 1,
  },
  fc.string({ maxLength: 12 }),
);
const weightMap = fc.oneof(
  fc.constant({ a: ONE, b: ONE, c: TWO, d: TWO }),
  fc.dictionary(fc.constantFrom("a", "b", "c", "d", "e", "__proto__", "\u001b[1m"), fileName, { maxKeys: 6 }),
);
const index = weightMap.map((weight_map): unknown => ({ metadata: { total_size: 16 }, weight_map }));

export const indexTarget: FuzzTarget = {
  name: "index",
  share: 3,
  files: damaged(tamperedJson(index).map(jsonBytes)).map((bytes) => ({ ...SHARDS, [INDEX_FILE]: bytes })),
  open: async (directory) => {
    const names = await shardNames(join(directory, INDEX_FILE));
    const odd = names.find((name) => !/^[\w.-]+\.safetensors$/.test(name) || name.startsWith("."));
    if (odd !== undefined) throw new Error(`the name ${JSON.stringify(odd)}`);
    const tensors = await openCheckpointTensors(directory);
    return async () => {
      try {
        for (const name of tensors.names) await tensors.read(name);
      } finally {
        await tensors.close();
      }
    };
  },
};
