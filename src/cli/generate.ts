/** `gprune generate` */

import { badArgument } from "../base/arguments.ts";
import type { OnProgress } from "../base/progress.ts";
import { GpruneError } from "../errors.ts";
import { endingIds } from "../evaluate/decoding.ts";
import { continuationText, generate, promptTokens } from "../evaluate/generate.ts";
import { generateTexts } from "../evaluate/generated_texts.ts";
import { DecoderRunner } from "../graph/decoder/decoder_runner.ts";
import { writeNewFileAtomically } from "../io/files/output_directory.ts";
import { requireFreeFile } from "../io/files/output_place.ts";
import type { Message } from "../io/texts/conversations.ts";
import { decodeText } from "../io/texts/texts.ts";
import type { Model } from "../model/model.ts";
import { chatPrompterOf } from "../model/tokenizer/chat_template.ts";
import { Tokenizer } from "../model/tokenizer/tokenizer.ts";
import { optionOf } from "./options.ts";
import { print, printJson, printJsonLine } from "./terminal.ts";
import { type ComputingOptions, withModels } from "./with_models.ts";

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

/** Options that only --sample has. */
const SAMPLE_OPTIONS = ["count", "temperature", "topP", "seed", "output"] as const;

const PROMPTED_TOKENS = 32;
const ANSWER_TOKENS = 256;
const SAMPLED_TOKENS = 512;
/** Value of --prompt that means standard input. */
const STANDARD_INPUT = "-";
/** Limit for a prompt from standard input; more than any context window holds. */
const MAX_PROMPT_BYTES = 2 ** 26;

export async function generateAction(path: string, options: GenerateCommandOptions): Promise<void> {
  const { sample = false, output } = options;
  if (sample === (options.prompt !== undefined)) {
    const got = sample ? "both" : "neither";
    throw badArgument("generate", "--prompt or --sample", got);
  }
  if (!sample) requireSampling(options);
  requireChat(options);
  // Fails on a wrong path before anything is computed.
  if (output !== undefined) await requireFreeFile(output);
  const prompt = options.prompt === STANDARD_INPUT ? await readPrompt() : options.prompt;
  if (prompt === undefined) {
    await writeSamples(await withWriter(path, options, (writer) => drawSamples(writer, options)), options);
  } else {
    printContinued(
      await withWriter(path, options, (writer) => continuePrompt(writer, prompt, options)),
      options,
    );
  }
}

/** A model that generates text. */
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

/** A prompt and its continuation; plain JSON, as `--json` prints it. */
interface Continued {
  readonly model: string;
  readonly prompt: string;
  readonly prompt_tokens: number;
  readonly text: string;
  readonly tokens: number;
  /** `stop`: the model ended the text; `length`: it reached the number of tokens. */
  readonly finish_reason: "stop" | "length";
}

/** Prints the prompt and its continuation, or of a chat only the answer. */
function printContinued(found: Continued, { chat, json }: GenerateCommandOptions): void {
  const { prompt, text } = found;
  if (json) printJson(found);
  else print(chat ? text : prompt + text);
}

async function continuePrompt(
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

/** Token ids of messages; BOS is left to the chat template. */
async function chatTokens(
  model: Model,
  messages: readonly Message[],
  tokenizer: Tokenizer,
): Promise<Int32Array> {
  const [prompt = ""] = await chatPrompterOf(model)([messages], () => "--prompt");
  return tokenizer.encode(prompt);
}

/**
 * Reads standard input, without the newline that editors and `echo` put last.
 * @throws GpruneError BAD_TEXT for text that is not UTF-8, BAD_ARGUMENT for more than {@link MAX_PROMPT_BYTES}
 */
async function readPrompt(): Promise<string> {
  const where = "standard input";
  const parts: Buffer[] = [];
  let size = 0;
  for await (const part of process.stdin as AsyncIterable<Buffer>) {
    size += part.length;
    if (size > MAX_PROMPT_BYTES) {
      throw badArgument(where, `a prompt of at most ${MAX_PROMPT_BYTES} bytes`, "more");
    }
    parts.push(part);
  }
  return decodeText(Buffer.concat(parts), where).replace(/\r?\n$/, "");
}

/** @throws GpruneError BAD_ARGUMENT naming an option that needs --sample */
function requireSampling(options: GenerateCommandOptions): void {
  const idle = SAMPLE_OPTIONS.find((name) => options[name] !== undefined);
  if (idle === undefined) return;
  const message = `${optionOf(idle)}: expected --sample, got --prompt`;
  throw new GpruneError("BAD_ARGUMENT", message, {
    hint:
      idle === "output"
        ? "The continuation of a prompt is printed on stdout; redirect it with > FILE."
        : "A prompt is continued greedily: the most probable token at each step.",
  });
}

/** @throws GpruneError BAD_ARGUMENT for --chat with --sample, and --system without --chat */
function requireChat({ chat = false, system, sample = false }: GenerateCommandOptions): void {
  if (chat && sample) throw badArgument("--chat", "--prompt", "--sample");
  if (system !== undefined && !chat) throw badArgument("--system", "--chat", "none");
}

/** Texts drawn from the model; plain JSON, as `--json` prints it. */
interface Sampled {
  readonly model: string;
  readonly count: number;
  /** Tokens of every window. */
  readonly tokens: number;
  readonly temperature: number;
  readonly top_p: number;
  readonly seed: number;
  readonly texts: readonly string[];
}

/** Samples texts, window by window. */
async function drawSamples(
  { runner, tokenizer, onProgress }: Writer,
  { count = 16, temperature = 1, topP = 1, seed = 0, ...options }: GenerateCommandOptions,
): Promise<Sampled> {
  const { maxTokens: tokens = Math.min(SAMPLED_TOKENS, runner.model.spec.maxPositions) } = options;
  const sampling = { count, temperature, topP, seed, tokens, onProgress };
  const texts = (await generateTexts(runner, tokenizer, sampling)).flat();
  return { model: runner.model.origin.name, count, tokens, temperature, top_p: topP, seed, texts };
}

/** Writes texts as JSON Lines to a file or stdout; with `--json`, stdout has one document, which names the file. */
async function writeSamples(found: Sampled, { output, json }: GenerateCommandOptions): Promise<void> {
  const { texts } = found;
  const show = (): void => {
    if (json) printJson({ output: null, ...found });
    else for (const text of texts) printJsonLine({ text });
  };
  if (output === undefined) return show();
  const lines = texts.map((text) => `${JSON.stringify({ text })}\n`).join("");
  await writeNewFileAtomically(output, (file) => file.write(Buffer.from(lines))).catch((error) => {
    // Printed, so that texts that took long are not lost.
    show();
    throw error;
  });
  if (json) printJson({ output, ...found });
  else print(output);
}
