/**
 * Chat templates: what makes one text of a conversation. They are programs of strangers. gprune carries their text, of a limited size,
 * from the tokenizer of a model to the tokenizer of the output, and runs one only for conversations that it is given, in a thread
 * that is ended when it takes too much (jinja/render.ts).
 */
import { z } from "zod";
import { GpruneError } from "../errors.ts";
import type { ConversationRenderer, Message } from "../io/conversations.ts";
import { renderChats } from "../jinja/render.ts";
import type { CarriedFile, Model } from "./model.ts";
import { ofModel, parseTokenizerFile } from "./tokenizer_files.ts";

/** Bytes of UTF-8; real templates have up to some tens of KB. */
export const MAX_TEMPLATE_BYTES: number = 2 ** 20;

const CONFIG = "tokenizer_config.json";
const specialToken = z.union([z.string(), z.looseObject({ content: z.string() })]).nullish();
const configSchema = z.looseObject({
  bos_token: specialToken,
  eos_token: specialToken,
  unk_token: specialToken,
  pad_token: specialToken,
  chat_template: z
    .union([z.string(), z.array(z.looseObject({ name: z.string(), template: z.string() }))])
    .nullish(),
});

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

/**
 * chat_template.jinja, which transformers prefers, or the template of tokenizer_config.json, of several the default; undefined where
 * there is none.
 * @throws GpruneError BAD_FILE when it is too long
 */
export function chatTemplateIn(files: readonly CarriedFile[]): string | undefined {
  const file = files.find(({ name }) => name === "chat_template.jinja");
  const configured = parseTokenizerFile(files, CONFIG, configSchema)?.chat_template;
  const listed = typeof configured === "string" ? configured : configured?.find(isDefault)?.template;
  const found = file === undefined ? listed : new TextDecoder().decode(file.bytes);
  return found && requireTemplate(found, "chat template");
}

function isDefault({ name }: { readonly name: string }): boolean {
  return name === "default";
}

/**
 * Renders conversations by a model's template, as `apply_chat_template` of transformers does.
 * @returns a renderer whose errors are BAD_TEXT for a conversation that the template does not take, and for models without one
 */
export function chatRendererOf({ files, origin }: Pick<Model, "files" | "origin">): ConversationRenderer {
  return async (conversations, where) => {
    const rendered = await ofModel({ origin }, () => chatWith(files, conversations, { reply: false, where }));
    if (rendered !== null) return rendered;
    throw new GpruneError("BAD_TEXT", `${where(0)}: expected text, got a conversation`, {
      hint: `${origin.name} has no chat template that would make a text of it.`,
    });
  };
}

/**
 * The text before which a model answers a message.
 * @throws GpruneError BAD_ARGUMENT for a model without a template, BAD_TEXT when the template does not take the message
 */
export async function chatPrompt(
  { files, origin }: Pick<Model, "files" | "origin">,
  messages: readonly Message[],
): Promise<string> {
  const where = (): string => `${origin.name}: chat template`;
  const rendered = await ofModel({ origin }, () => chatWith(files, [messages], { reply: true, where }));
  if (rendered !== null) return rendered[0]!;
  throw new GpruneError("BAD_ARGUMENT", `--chat: expected a model with a chat template, got ${origin.name}`, {
    hint: "Without --chat the prompt is continued as it is.",
  });
}

/** @returns null without a template */
function chatWith(
  files: readonly CarriedFile[],
  conversations: readonly (readonly Message[])[],
  { reply, where }: { readonly reply: boolean; readonly where: (conversation: number) => string },
): Promise<readonly string[]> | null {
  const template = chatTemplateIn(files);
  if (template === undefined) return null;
  const { chat_template: _template, ...config } = parseTokenizerFile(files, CONFIG, configSchema) ?? {};
  const tokens = Object.fromEntries(
    Object.entries(configSchema.shape).flatMap(([name]) => {
      const token = (config as Readonly<Record<string, unknown>>)[name];
      const content = typeof token === "string" ? token : (token as { content?: string } | null)?.content;
      return content === undefined ? [] : [[name, content]];
    }),
  );
  const values = conversations.map((messages) => ({ ...tokens, messages, add_generation_prompt: reply }));
  return renderChats(template, values, where);
}
