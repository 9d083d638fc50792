/** Greedy text generation. */
import { badArgument, requireCount } from "../base/arguments.ts";
import { GpruneError } from "../errors.ts";
import type { DecoderRunner } from "../graph/decoder/decoder_runner.ts";
import type { Tokenizer } from "../model/tokenizer/tokenizer.ts";
import { closeDecoder, Decoding, loadFastDecoder } from "./decoding.ts";

/** Options of {@link generate}. */
export interface GenerateOptions {
  /** Most tokens to generate. */
  readonly maxTokens: number;
  /** Generation ends before the first of these; it is not part of the result. */
  readonly stopIds: readonly number[];
  /** Called with every new token. */
  readonly onToken?: (id: number) => void;
}

/** The tokens of a prompt as transformers passes them to a model, with BOS where the tokenizer adds it by default. */
export function promptTokens(prompt: string, tokenizer: Tokenizer): Int32Array {
  const ids = tokenizer.encode(prompt);
  const { leadingId } = tokenizer;
  return leadingId === null || ids[0] === leadingId ? ids : Int32Array.from([leadingId, ...ids]);
}

/** The text of generated tokens. Decoded with the prompt, since some tokenizers drop a space at the start of a text. */
export function continuationText(ids: Int32Array, prompt: Int32Array, tokenizer: Tokenizer): string {
  return tokenizer.decode([...prompt, ...ids]).slice(tokenizer.decode(prompt).length);
}

/**
 * Continues a prompt greedily with the most probable token each time; ties go to the lowest id.
 * @param prompt - token ids, at least one, including BOS where the tokenizer adds it: see `promptTokens`
 * @returns the generated ids
 * @throws GpruneError BAD_TEXT for an empty prompt, BAD_ARGUMENT when the model has no positions for `maxTokens` more
 *   tokens, or for a `maxTokens` that is not a whole number
 */
export async function generate(
  runner: DecoderRunner,
  prompt: Int32Array,
  options: GenerateOptions,
): Promise<Int32Array> {
  if (prompt.length === 0) throw new GpruneError("BAD_TEXT", "prompt: expected at least one token, got none");
  requireCount("maxTokens", options.maxTokens, { least: 0 });
  requireRoomFor(runner, prompt.length, options.maxTokens);
  const decoder = await loadFastDecoder(runner, options.maxTokens);
  try {
    return await continued(new Decoding(decoder, 1), prompt, options);
  } finally {
    await closeDecoder(decoder);
  }
}

async function continued(
  decoding: Decoding,
  prompt: Int32Array,
  { maxTokens, stopIds, onToken }: GenerateOptions,
): Promise<Int32Array> {
  const generated: number[] = [];
  let ids = prompt;
  while (generated.length < maxTokens) {
    const next = argmax((await decoding.append(ids)).data);
    if (stopIds.includes(next)) break;
    generated.push(next);
    onToken?.(next);
    ids = Int32Array.of(next);
  }
  return Int32Array.from(generated);
}

function requireRoomFor({ model: { spec } }: DecoderRunner, prompt: number, more: number): void {
  const room = spec.maxPositions - prompt;
  if (more <= room) return;
  if (room < 0) {
    const expected = `at most ${spec.maxPositions} tokens, the context length of the model`;
    throw badArgument("prompt", expected, prompt);
  }
  const expected = `at most ${room} after a prompt of ${prompt} tokens`;
  throw new GpruneError("BAD_ARGUMENT", `tokens to generate: expected ${expected}, got ${more}`, {
    hint: `The context length of the model is ${spec.maxPositions} tokens. Generate fewer (--max-tokens) or shorten the prompt.`,
  });
}

function argmax(values: Float32Array): number {
  let best = 0;
  for (let i = 1; i < values.length; i++) if (values[i]! > values[best]!) best = i;
  return best;
}
