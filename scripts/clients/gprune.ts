/** Client for Hugging Face directories and GGUF files in gprune itself, the reference of the other clients. */

import { silent } from "../../src/base/progress.ts";
import { type GenerateOptions, generate } from "../../src/evaluate/generate.ts";
import { DecoderRunner } from "../../src/graph/decoder/decoder_runner.ts";
import { embedWindows, forwardLayers, hiddenRows } from "../../src/graph/decoder/forward.ts";
import { Runtime } from "../../src/graph/runtime/runtime.ts";
import { openModel } from "../../src/model/checkpoint/checkpoint.ts";
import { Tokenizer } from "../../src/model/tokenizer/tokenizer.ts";
import type { Tensor } from "../../src/tensor/tensor.ts";
import { answerCases, type Case, type Continuation, type LoadedModel } from "./program.ts";

async function open({ path, threads }: Case): Promise<LoadedModel> {
  const model = await openModel(path);
  const runtime = new Runtime(threads === null ? {} : { threads });
  const runner = new TimedRunner(model, runtime);
  return {
    tokenize: (text) => Tokenizer.fromFiles(model.files).encode(text),
    logits: (ids) => logitsOf(runner, ids),
    generate: (ids, tokens) => runner.generate(ids, tokens),
    async close() {
      await runtime.close();
      await model.weights.close();
    },
  };
}

async function logitsOf(runner: DecoderRunner, ids: readonly number[]): Promise<Float32Array> {
  const batches = await embedWindows(runner, [Int32Array.from(ids)]);
  await forwardLayers(runner, batches, { stage: "logits", onProgress: silent });
  const outputs = await runner.runHead("logits", await runner.loadHead(), {
    hidden: hiddenRows(batches[0]!),
  });
  return outputs.logits!.data;
}

/** Runner that starts its clock at the first embedding, when the weights have been loaded. */
class TimedRunner extends DecoderRunner {
  #start: number | null = null;

  override async embed(...tokens: Parameters<DecoderRunner["embed"]>): Promise<Tensor> {
    this.#start ??= performance.now();
    return super.embed(...tokens);
  }

  async generate(ids: readonly number[], tokens: number): Promise<Continuation> {
    this.#start = null;
    let first: number | null = null;
    const options: GenerateOptions = {
      maxTokens: tokens,
      stopIds: [],
      onToken: () => {
        first ??= performance.now();
      },
    };
    const generated = [...(await generate(this, Int32Array.from(ids), options))];
    const end = performance.now();
    const [started, answered] = [this.#start ?? end, first ?? end];
    return {
      generated,
      promptSeconds: (answered - started) / 1000,
      decodeSeconds: (end - answered) / 1000,
    };
  }
}

await answerCases(open);
