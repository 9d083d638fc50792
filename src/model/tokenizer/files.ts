/** Reads tokenizer.json and its companions under limits. */
import { z } from "zod";
import { wrongValues } from "../../base/wrong_values.ts";
import { GpruneError, withHint } from "../../errors.ts";
import { type JsonLimits, MAX_JSON_DEPTH, parseJson } from "../../io/files/json.ts";
import type { CarriedFile, Model } from "../model.ts";

/** Gemma 3's file, the largest known, has 33 MB. A vocabulary may hold "__proto__", and nothing here merges objects. */
const TOKENIZER_LIMITS: JsonLimits = { maxBytes: 2 ** 27, maxDepth: MAX_JSON_DEPTH, anyKeys: true };

/** Arrays are indexed by id; the largest real vocabularies have 262 thousand. */
const MAX_TOKEN_ID = 2 ** 24;
export const tokenId: z.ZodInt = z.int().nonnegative().max(MAX_TOKEN_ID);

type TokenObject = z.ZodObject<{ content: z.ZodString }, z.core.$loose>;
type SpecialToken = z.ZodOptional<z.ZodNullable<z.ZodUnion<readonly [z.ZodString, TokenObject]>>>;
/** A special token in tokenizer_config.json. */
export const specialToken: SpecialToken = z
  .union([z.string(), z.looseObject({ content: z.string() })])
  .nullish();

type Role = "bos_token" | "eos_token" | "unk_token" | "pad_token";
/** The special tokens that have a role of their own in GGUF files and in chat templates. */
export const specialTokens: z.ZodObject<Record<Role, SpecialToken>, z.core.$loose> = z.looseObject({
  bos_token: specialToken,
  eos_token: specialToken,
  unk_token: specialToken,
  pad_token: specialToken,
});

/** The text of a special token; undefined for none. */
export function specialTokenText(token: z.infer<SpecialToken>): string | undefined {
  return typeof token === "string" ? token : token?.content;
}

/**
 * The content of a file; undefined when it is missing.
 * @throws GpruneError BAD_FILE when it exceeds a limit or is no such file
 */
export function parseTokenizerFile<T>(
  files: readonly CarriedFile[],
  name: string,
  schema: z.ZodType<T>,
): T | undefined {
  const file = files.find((candidate) => candidate.name === name);
  if (file === undefined) return undefined;
  const result = schema.safeParse(parseJson(file.bytes, { ...TOKENIZER_LIMITS, where: name }));
  if (result.success) return result.data;
  const message = `${name}: expected a file as transformers writes it, got: ${wrongValues(result.error)}`;
  throw new GpruneError("BAD_FILE", message);
}

/**
 * Refuses damaged JSON among the files that are copied with a model: nothing else reads all of them.
 * @throws GpruneError BAD_FILE naming the model and the file
 */
export function requireSoundFiles({ files, origin }: Pick<Model, "files" | "origin">): void {
  for (const { name, bytes } of files) {
    if (!name.endsWith(".json")) continue;
    try {
      parseJson(bytes, { ...TOKENIZER_LIMITS, where: `${origin.name}: ${name}` });
    } catch (error) {
      throw withHint(error, "BAD_FILE", "The file is damaged; copy or download it again.");
    }
  }
}

/** Whether ids are within the limit; those of a list (Unigram) are its indices. By hand: zod would copy them. */
export function hasSmallIds(vocab: unknown): boolean {
  if (typeof vocab !== "object" || vocab === null) return false;
  return (
    Array.isArray(vocab) ||
    Object.values(vocab).every((id) => Number.isInteger(id) && id >= 0 && id <= MAX_TOKEN_ID)
  );
}

/** Messages that begin with the name of a file. */
const FILE_FIRST = /^((tokenizer|tokenizer_config|generation_config)\.json|chat_template\.(jinja|json)): /;

/** Calls `read`; errors about a file get the name of the model that it belongs to. */
export function ofModel<T>({ origin }: Pick<Model, "origin">, read: () => T): T {
  try {
    return read();
  } catch (error) {
    if (!(error instanceof GpruneError) || !FILE_FIRST.test(error.message)) throw error;
    throw error.inOtherWords({ message: `${origin.name}: ${error.message}` });
  }
}
