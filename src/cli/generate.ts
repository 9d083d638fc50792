/** `gprune generate` */
import { generate } from "../evaluate/generate.ts";
import { DecoderRunner } from "../graph/decoder_runner.ts";
import { Runtime } from "../graph/runtime.ts";
import { openModel } from "../model/checkpoint.ts";
import { Tokenizer } from "../model/tokenizer.ts";
import { withProgress } from "./progress.ts";
import { plainText, print } from "./terminal.ts";

interface GenerateCommandOptions {
  readonly prompt: string;
  readonly maxTokens: number;
  readonly threads?: number;
}

export async function generateCommand(path: string, options: GenerateCommandOptions): Promise<void> {
  const model = await withProgress({}, (onProgress) => openModel(path, { onProgress }));
  const runtime = new Runtime(options.threads === undefined ? {} : { threads: options.threads });
  try {
    const tokenizer = Tokenizer.fromFiles(model.files);
    const ids = await generate(new DecoderRunner(model, runtime), tokenizer.encode(options.prompt), {
      maxTokens: options.maxTokens,
      stopIds: tokenizer.eosIds,
    });
    print(plainText(options.prompt + tokenizer.decode(ids)));
  } finally {
    await runtime.close();
    await model.weights.close();
  }
}
