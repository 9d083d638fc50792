/** `gprune generate` */

import type { OnProgress } from "../base/progress.ts";
import { GpruneError } from "../errors.ts";
import { endingIds } from "../evaluate/decoding.ts";
import { continuationText, generate, promptTokens } from "../evaluate/generate.ts";
import { sampleTexts } from "../evaluate/sample.ts";
import { DecoderRunner } from "../graph/decoder/decoder_runner.ts";
import { writeNewFileAtomically } from "../io/files/output_directory.ts";
import { requireFreeFile } from "../io/files/output_place.ts";
import type { Message } from "../io/texts/conversations.ts";
import { decodeText } from "../io/texts/texts.ts";
import type { Model } from "../model/model.ts";
import { chatPrompterOf } from "../model/tokenizer/chat_template.ts";
import { Tokenizer } from "../model/tokenizer/tokenizer.ts";
import { type ComputingOptions, withModels } from "./models.ts";
import { optionOf } from "./options.ts";
import { plainText, print, printJson, printJsonLine } from "./terminal.ts";

interface GenerateCommandOptions extends ComputingOptions {
  readonly prompt?: string;
  readonly maxTokens?: number;
  readonly chat?: boolean;
  readonly system?: string;
  readonly sample?: boolean;
  readonly count?: number;
  readonly temperature?: number;
  readonly topP?: number;
  readonly seed?: number;
  readonly output?: string;
  readonly json?: boolean;
}

/** Options that say something of samples alone. */
const OF_SAMPLES = ["count", "temperature", "topP", "seed", "output"] as const;

const PROMPTED_TOKENS = 32;
const ANSWER_TOKENS = 256;
const SAMPLED_TOKENS = 512;
/** The prompt that means the standard input. */
const STANDARD_INPUT = "-";
/** Of a prompt from there: more than any model takes. */
const MAX_PROMPT_BYTES = 2 ** 26;

export async function generateCommand(path: string, options: GenerateCommandOptions): Promise<void> {
  const { sample = false, output } = options;
  if (sample === (options.prompt !== undefined)) {
    const got = sample ? "both" : "neither";
    throw new GpruneError("BAD_ARGUMENT", `generate: expected --prompt or --sample, got ${got}`);
  }
  if (!sample) refuseOfSamples(options);
  refuseOfChats(options);
  // A wrong place is reported before anything is computed.
  if (output !== undefined) await requireFreeFile(output);
  const prompt = options.prompt === STANDARD_INPUT ? await readPrompt() : options.prompt;
  if (prompt === undefined) {
    await give(await withWriter(path, options, (writer) => sampled(writer, options)), options);
  } else {
    tell(await withWriter(path, options, (writer) => continued(writer, prompt, options)), options);
  }
}

/** A model that writes. */
interface Writer {
  readonly runner: DecoderRunner;
  readonly tokenizer: Tokenizer;
  readonly onProgress: OnProgress;
}

function withWriter<T>(
  path: string,
  options: ComputingOptions,
  work: (writer: Writer) => Promise<T>,
): Promise<T> {
  return withModels([path], options, ({ models, runtime, onProgress }) => {
    const [model] = models as [Model];
    return work({ runner: new DecoderRunner(model, runtime), tokenizer: Tokenizer.of(model), onProgress });
  });
}

/** What a prompt is continued with; plain JSON, as `--json` prints it. */
interface Continued {
  readonly model: string;
  readonly prompt: string;
  readonly prompt_tokens: number;
  readonly text: string;
  readonly tokens: number;
  /** Whether the model ended the text, or there were as many tokens as were asked for. */
  readonly finish_reason: "stop" | "length";
}

/** On stdout: the prompt and what follows it, or the answer to it alone. */
function tell(found: Continued, { chat, json }: GenerateCommandOptions): void {
  const { prompt, text } = found;
  if (json) printJson(found);
  else print(plainText(chat ? text : prompt + text));
}

async function continued(
  { runner, tokenizer }: Writer,
  prompt: string,
  { chat = false, system, ...options }: GenerateCommandOptions,
): Promise<Continued> {
  const { model } = runner;
  const messages = [
    ...(system === undefined ? [] : [{ role: "system", content: system }]),
    { role: "user", content: prompt },
  ];
  const tokens = chat ? await chatTokens(model, messages, tokenizer) : promptTokens(prompt, tokenizer);
  const room = Math.max(1, model.spec.maxPositions - tokens.length);
  const { maxTokens = Math.min(chat ? ANSWER_TOKENS : PROMPTED_TOKENS, room) } = options;
  const ids = await generate(runner, tokens, { maxTokens, stopIds: endingIds(model, tokenizer) });
  return {
    model: model.origin.name,
    prompt,
    prompt_tokens: tokens.length,
    text: continuationText(ids, tokens, tokenizer),
    tokens: ids.length,
    finish_reason: ids.length < maxTokens ? "stop" : "length",
  };
}

/** A chat template has BOS in it where the model wants it. */
async function chatTokens(
  model: Model,
  messages: readonly Message[],
  tokenizer: Tokenizer,
): Promise<Int32Array> {
  const [prompt = ""] = await chatPrompterOf(model)([messages], () => "--prompt");
  return tokenizer.encode(prompt);
}

/**
 * The standard input without the line end that editors and `echo` put last.
 * @throws GpruneError BAD_TEXT for what is no UTF-8, BAD_ARGUMENT for too much
 */
async function readPrompt(): Promise<string> {
  const where = "standard input";
  const parts: Buffer[] = [];
  let size = 0;
  for await (const part of process.stdin as AsyncIterable<Buffer>) {
    size += part.length;
    if (size > MAX_PROMPT_BYTES) {
      const expected = `a prompt of at most ${MAX_PROMPT_BYTES} bytes`;
      throw new GpruneError("BAD_ARGUMENT", `${where}: expected ${expected}, got more`);
    }
    parts.push(part);
  }
  return decodeText(Buffer.concat(parts), where).replace(/\r?\n$/, "");
}

/** @throws GpruneError BAD_ARGUMENT naming one that does nothing for a prompt */
function refuseOfSamples(options: GenerateCommandOptions): void {
  const idle = OF_SAMPLES.find((name) => options[name] !== undefined);
  if (idle === undefined) return;
  const message = `${optionOf(idle)}: expected it with --sample, got it with --prompt`;
  throw new GpruneError("BAD_ARGUMENT", message, {
    hint:
      idle === "output"
        ? "What continues a prompt goes to the standard output; > FILE keeps it."
        : "A prompt is continued once, with the most probable token each time.",
  });
}

/** @throws GpruneError BAD_ARGUMENT for options of an answer without one */
function refuseOfChats({ chat = false, system, sample = false }: GenerateCommandOptions): void {
  if (chat && sample) {
    throw new GpruneError("BAD_ARGUMENT", "--chat: expected it with --prompt, got it with --sample");
  }
  if (system !== undefined && !chat) {
    throw new GpruneError("BAD_ARGUMENT", "--system: expected it with --chat, got it without");
  }
}

/** Texts drawn from the model; plain JSON, as `--json` prints it. */
interface Sampled {
  readonly model: string;
  readonly count: number;
  /** Of every window. */
  readonly tokens: number;
  readonly temperature: number;
  readonly top_p: number;
  readonly seed: number;
  readonly texts: readonly string[];
}

/** Texts drawn from the model, window by window. */
async function sampled(
  { runner, tokenizer, onProgress }: Writer,
  { count = 16, temperature = 1, topP = 1, seed = 0, ...options }: GenerateCommandOptions,
): Promise<Sampled> {
  const { maxTokens: tokens = Math.min(SAMPLED_TOKENS, runner.model.spec.maxPositions) } = options;
  const sampling = { count, temperature, topP, seed, tokens, onProgress };
  const texts = (await sampleTexts(runner, tokenizer, sampling)).flat();
  return { model: runner.model.origin.name, count, tokens, temperature, top_p: topP, seed, texts };
}

/**
 * JSON Lines of texts, to a file or the standard output; there one document instead with `--json`, which names the
 * file.
 */
async function give(found: Sampled, { output, json }: GenerateCommandOptions): Promise<void> {
  const { texts } = found;
  const show = (): void => {
    if (json) printJson({ output: null, ...found });
    else for (const text of texts) printJsonLine({ text });
  };
  if (output === undefined) return show();
  const lines = texts.map((text) => `${JSON.stringify({ text })}\n`).join("");
  await writeNewFileAtomically(output, (file) => file.write(Buffer.from(lines))).catch((error) => {
    // What took long to make is not lost.
    show();
    throw error;
  });
  if (json) printJson({ output, ...found });
  else print(output);
}
