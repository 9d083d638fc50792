/** Reading of tokenizer.json and its companions under limits. */
import { z } from "zod";
import { GpruneError } from "../errors.ts";
import type { CarriedFile } from "./model.ts";

/** Gemma 3's file, the largest known, has 33 MB. */
const MAX_TOKENIZER_BYTES = 2 ** 27;

/** Arrays are indexed by id; the largest real vocabularies have 262 thousand. */
const MAX_TOKEN_ID = 2 ** 24;
export const tokenId: z.ZodInt = z.int().nonnegative().max(MAX_TOKEN_ID);

/**
 * A file's content, undefined when it is not there. Plain JSON.parse: a vocabulary may hold "__proto__", and nothing
 * here merges objects.
 */
export function parseTokenizerFile<T>(
  files: readonly CarriedFile[],
  name: string,
  schema: z.ZodType<T>,
): T | undefined {
  const file = files.find((candidate) => candidate.name === name);
  if (file === undefined) return undefined;
  if (file.bytes.length > MAX_TOKENIZER_BYTES) {
    const message = `${name}: expected at most ${MAX_TOKENIZER_BYTES} bytes, got ${file.bytes.length}`;
    throw new GpruneError("BAD_FILE", message);
  }
  try {
    return schema.parse(JSON.parse(new TextDecoder("utf-8", { fatal: true }).decode(file.bytes)));
  } catch (cause) {
    const reason = cause instanceof z.ZodError ? z.prettifyError(cause) : String(cause);
    throw new GpruneError("BAD_FILE", `${name}: expected a Hugging Face tokenizer file, got ${reason}`, {
      cause,
    });
  }
}

/** A vocabulary by token has ids within the limit; a list (Unigram) has its indices. By hand: zod would copy it. */
export function hasSmallIds(vocab: unknown): boolean {
  if (typeof vocab !== "object" || vocab === null) return false;
  return (
    Array.isArray(vocab) ||
    Object.values(vocab).every((id) => Number.isInteger(id) && id >= 0 && id <= MAX_TOKEN_ID)
  );
}
