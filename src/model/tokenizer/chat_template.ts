/**
 * Chat templates, which turn a conversation into one text. They are untrusted programs. gprune carries their text, of a
 * limited size, from the tokenizer of a model to that of the output, and runs one only for conversations that it is
 * given, in a thread that is ended when it takes too much (jinja/render.ts).
 */
import { z } from "zod";
import { GpruneError } from "../../errors.ts";
import type { Conversation, ConversationRenderer, Message } from "../../io/texts/conversations.ts";
import { decodeText } from "../../io/texts/texts.ts";
import { renderChats } from "../../jinja/render.ts";
import type { CarriedFile, Model } from "../model.ts";
import { ofModel, parseTokenizerFile, specialTokens, specialTokenText } from "./files.ts";

/** Largest template, bytes of UTF-8; real ones have up to some tens of KB. */
export const MAX_TEMPLATE_BYTES: number = 2 ** 20;

const CONFIG = "tokenizer_config.json";
const configSchema = specialTokens.extend({
  chat_template: z
    .union([z.string(), z.array(z.looseObject({ name: z.string(), template: z.string() }))])
    .nullish(),
});

/**
 * The template itself, of a limited size.
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

const JINJA = "chat_template.jinja";

/**
 * chat_template.jinja, which transformers prefers, else the template of tokenizer_config.json, of several the default
 * one; undefined where there is none.
 * @throws GpruneError BAD_FILE when it is too long or tokenizer_config.json malformed, BAD_TEXT when it is not UTF-8
 */
export function chatTemplateIn(files: readonly CarriedFile[]): string | undefined {
  const file = files.find(({ name }) => name === JINJA);
  if (file !== undefined) return requireTemplate(decodeText(file.bytes, JINJA), JINJA) || undefined;
  const configured = configOf(files).chat_template;
  const template =
    typeof configured === "string"
      ? configured
      : configured?.find(({ name }) => name === "default")?.template;
  return template ? requireTemplate(template, `${CONFIG}: chat_template`) : undefined;
}

/** Where older processors of multimodal models have their template (`LEGACY_PROCESSOR_CHAT_TEMPLATE_FILE`). */
const PROCESSOR = "chat_template.json";
const processorSchema = z.object({ chat_template: z.string() });

/**
 * The files of a model without its processor's template, which takes the place of chat_template.jinja where the
 * tokenizer has none: `ProcessorMixin` of transformers reads it, and the tokenizer of a text model does not.
 * @throws GpruneError BAD_FILE for a file without a template, or too long a one
 */
export function withProcessorTemplate(files: readonly CarriedFile[]): readonly CarriedFile[] {
  const others = files.filter(({ name }) => name !== PROCESSOR);
  if (others.length === files.length || chatTemplateIn(others) !== undefined) return others;
  const { chat_template: template } = parseTokenizerFile(files, PROCESSOR, processorSchema)!;
  const bytes = new TextEncoder().encode(requireTemplate(template, `${PROCESSOR}: chat_template`));
  return [...others.filter(({ name }) => name !== JINJA), { name: JINJA, bytes }];
}

function configOf(files: readonly CarriedFile[]): z.infer<typeof configSchema> {
  return parseTokenizerFile(files, CONFIG, configSchema) ?? {};
}

/**
 * Renders conversations by a model's template, as `apply_chat_template` of transformers does, but on a fixed date;
 * undefined for a model without a template. Rendering throws BAD_TEXT for a conversation that the template refuses,
 * BAD_FILE when it takes too much time or memory.
 * @param toBeAnswered - whether texts end where the model's answer begins (`add_generation_prompt`)
 * @throws GpruneError as `chatTemplateIn`, with the model's name before the file's
 */
export function chatRendererOf(
  model: Pick<Model, "files" | "origin">,
  toBeAnswered: boolean = false,
): ConversationRenderer | undefined {
  const template = ofModel(model, () => chatTemplateIn(model.files));
  if (template === undefined) return undefined;
  const variables = { ...templateVariables(model), add_generation_prompt: toBeAnswered };
  const { name } = model.origin;
  return withParts((conversations, where) => {
    const values = conversations.map((messages) => ({ ...variables, messages }));
    return renderChats(template, values, (index) => `${name}: chat template, ${where(index)}`);
  });
}

/**
 * Renders a conversation again, with contents as lists of parts, if its text lacks what the user said: templates of
 * older multimodal models go through the parts of a content, and find none in a string.
 */
function withParts(render: ConversationRenderer): ConversationRenderer {
  return async (conversations, where) => {
    const texts = await render(conversations, where);
    const lacking = [...texts.keys()].filter((i) => !holdsQuestions(texts[i]!, conversations[i]!));
    if (lacking.length === 0) return texts;
    const inParts = lacking.map((i) => conversations[i]!.map(messageInParts));
    // A template that takes no parts left the questions out for another reason.
    const again = await render(inParts, (i) => where(lacking[i]!)).catch(() => []);
    const better = new Map(again.map((text, i) => [lacking[i]!, text]));
    return texts.map((text, i) => {
      const other = better.get(i);
      return other !== undefined && holdsQuestions(other, conversations[i]!) ? other : text;
    });
  };
}

/** Whether a text holds all that the user says in a conversation, white space around it aside. */
function holdsQuestions(text: string, conversation: Conversation): boolean {
  return conversation.every(
    ({ role, content }) => role !== "user" || typeof content !== "string" || text.includes(content.trim()),
  );
}

function messageInParts(message: Message): Message {
  const { content } = message;
  return typeof content === "string" ? { ...message, content: [{ type: "text", text: content }] } : message;
}

/**
 * Renders conversations that the model is to answer.
 * @throws GpruneError BAD_ARGUMENT for a model without a template, and as `chatRendererOf`
 */
export function chatPrompterOf(model: Pick<Model, "files" | "origin">): ConversationRenderer {
  const renderer = chatRendererOf(model, true);
  if (renderer !== undefined) return renderer;
  const got = model.origin.name;
  throw new GpruneError("BAD_ARGUMENT", `chat: expected a model with a chat template, got ${got}`, {
    hint: Array.isArray(configOf(model.files).chat_template)
      ? "It has several, but none is named default."
      : "Give the prompt as plain text (without --chat).",
  });
}

/** Variables that transformers gives a template besides the conversation. */
function templateVariables({ files }: Pick<Model, "files">): Readonly<Record<string, unknown>> {
  const { bos_token, eos_token, unk_token, pad_token } = configOf(files);
  const tokens = Object.entries({ bos_token, eos_token, unk_token, pad_token }).flatMap(([role, token]) => {
    const content = specialTokenText(token);
    return content === undefined ? [] : [[role, content] as const];
  });
  return { ...Object.fromEntries(tokens), tools: null, documents: null };
}
