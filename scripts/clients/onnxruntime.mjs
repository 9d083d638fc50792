/** Client for ONNX exports in ONNX Runtime, a bare session without a tokenizer. */
import "../../src/graph/runtime/no_telemetry.ts";
import { readdirSync } from "node:fs";
import { join } from "node:path";
import { InferenceSession, Tensor } from "onnxruntime-node";
import { elementCount } from "../../src/tensor/tensor.ts";
import { asFeed } from "../../test/float16_feeds.ts";
import { emptyShape, pastName } from "../../test/onnx_cache.ts";
import { answerCases, argmax, greedy } from "./program.ts";

async function open({ path, threads }) {
  const directory = join(path, "onnx");
  const file = readdirSync(directory).find((name) => name.endsWith(".onnx"));
  const session = await InferenceSession.create(join(directory, file), {
    logSeverityLevel: 3,
    ...(threads === null ? {} : { intraOpNumThreads: threads }),
  });
  let cache = emptyCache(session);
  let length = 0;
  return {
    tokenize: () => null,
    async logits(ids) {
      clear();
      return run(ids);
    },
    async generate(ids, tokens) {
      clear();
      return greedy(step, ids, tokens);
    },
    close: () => session.release(),
  };

  function clear() {
    cache = emptyCache(session);
    length = 0;
  }

  async function step(ids) {
    const logits = await run(ids);
    return argmax(logits.subarray(-(logits.length / ids.length)));
  }

  /** Logits of all new tokens, [T, V]; adds their keys and values to the cache. */
  async function run(ids) {
    const total = length + ids.length;
    const { logits, ...present } = await session.run({
      input_ids: integers(ids),
      attention_mask: integers(new Array(total).fill(1)),
      position_ids: integers(ids.map((_, i) => length + i)),
      ...cache,
    });
    cache = Object.fromEntries(
      Object.entries(present).map(([name, tensor]) => [pastName(name), asFeed(tensor)]),
    );
    length = total;
    return logits.data;
  }
}

/** The cache of no tokens, in the shapes that the file declares: no keys and values, convolutions of zeros. */
function emptyCache({ inputMetadata }) {
  const entries = inputMetadata
    .filter(({ name }) => name.startsWith("past"))
    .map(({ name, type, shape }) => {
      const sizes = emptyShape(shape, 1);
      const size = elementCount(sizes);
      const data = type === "float16" ? new Uint16Array(size) : new Float32Array(size);
      return [name, asFeed(new Tensor(type, data, sizes))];
    });
  return Object.fromEntries(entries);
}

function integers(values) {
  return new Tensor("int64", BigInt64Array.from(values, BigInt), [1, values.length]);
}

await answerCases(open);
