/**
 * Chat templates are programs of strangers. gprune never runs one: it carries their text, of a limited size, from the
 * tokenizer of a model to the tokenizer of the output.
 */
import { GpruneError } from "../errors.ts";

/** Bytes of UTF-8; real templates have up to some tens of KB. */
export const MAX_TEMPLATE_BYTES: number = 2 ** 20;

/**
 * The template itself.
 * @param where - file and key, for the message
 * @throws GpruneError BAD_FILE when it is too long
 */
export function requireTemplate(template: string, where: string): string {
  const size = Buffer.byteLength(template);
  if (size <= MAX_TEMPLATE_BYTES) return template;
  throw new GpruneError(
    "BAD_FILE",
    `${where}: expected a chat template of at most ${MAX_TEMPLATE_BYTES} bytes, got ${size}`,
  );
}
