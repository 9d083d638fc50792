/** List of all readers of untrusted files. */
import type { FuzzTarget } from "./harness.ts";
import { ggufModelTarget, ggufTarget } from "./targets/gguf.ts";
import { indexTarget } from "./targets/index.ts";
import { modelConfigTarget } from "./targets/model_config.ts";
import { parquetTarget } from "./targets/parquet.ts";
import { planTarget } from "./targets/plan.ts";
import { runConfigTarget } from "./targets/run_config.ts";
import { safetensorsTarget } from "./targets/safetensors.ts";
import { textsTarget } from "./targets/texts.ts";
import { tokenizerTarget } from "./targets/tokenizer.ts";

export const FUZZ_TARGETS: readonly FuzzTarget[] = [
  safetensorsTarget,
  ggufTarget,
  ggufModelTarget,
  indexTarget,
  modelConfigTarget,
  planTarget,
  runConfigTarget,
  tokenizerTarget,
  textsTarget,
  parquetTarget,
];
