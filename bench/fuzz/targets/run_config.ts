/** Run configurations in YAML, including obscure YAML syntax. */

import { join } from "node:path";
import fc from "fast-check";
import { stringify } from "yaml";
import { parseRunConfig, resolveRunConfig } from "../../../src/config.ts";
import { readSmallText } from "../../../src/io/files/file.ts";
import { MAX_YAML_BYTES } from "../../../src/io/files/yaml.ts";
import type { FuzzTarget } from "../harness.ts";
import { damaged, tamperedJson } from "../mutate.ts";

const COMPLETE = {
  model: "m",
  output: "out",
  sparsity: 0.3,
  method: "gprune",
  metric: "flap-wifv",
  calibration: [{ name: "web", path: "web.txt", weight: 1 }],
  samples: 4,
  seed: 0,
  recover: "bias",
  shape: "uniform",
};

const text = tamperedJson(fc.constant(COMPLETE)).map(
  (value): Uint8Array => Buffer.from(stringify(value, { keepUndefined: true }) ?? ""),
);

export const runConfigTarget: FuzzTarget = {
  name: "run config",
  share: 3,
  files: damaged(text).map((bytes) => ({ "gprune.yaml": bytes })),
  open: async (directory) => {
    const path = join(directory, "gprune.yaml");
    const config = resolveRunConfig(parseRunConfig(await readSmallText(path, MAX_YAML_BYTES), path), path);
    if (!(config.sparsity >= 0 && config.sparsity < 1 && (config.samples ?? 1) > 0))
      throw new Error("out of range");
    if (Object.getPrototypeOf({}).x !== undefined) throw new Error("a polluted prototype");
    return undefined;
  },
};
