/**
 * Conversations in text files: lists of messages, as in data sets for chat models, which a chat template renders as
 * text. Two forms are read: `messages` with `role` and `content`, and that of ShareGPT, `conversations` with `from` and
 * `value`.
 */
import { isJsonObject } from "../files/json.ts";

/** Input of a chat template: `role` is a string, `content` usually is; other properties are passed through. */
export type Message = Readonly<Record<string, unknown>>;
/** Messages in order, which a chat template renders as one text. */
export type Conversation = readonly Message[];

/** Renders each conversation as text. @param where - the place of a conversation by its index, for messages */
export type ConversationRenderer = (
  conversations: readonly Conversation[],
  where: (conversation: number) => string,
) => Promise<readonly string[]>;

/** Default names of fields and columns with conversations. */
export const CONVERSATION_FIELDS = ["messages", "conversations"] as const;

/** Roles of ShareGPT and its successors, by their names in chat templates. */
const ROLES: ReadonlyMap<string, string> = new Map([
  ["human", "user"],
  ...["gpt", "chatgpt", "bot", "model"].map((name) => [name, "assistant"] as const),
]);

/** The conversation in the value of a field; null when it is not a non-empty list of messages. */
export function asConversation(value: unknown): Conversation | null {
  if (!Array.isArray(value) || value.length === 0) return null;
  const messages = value.map(asMessage);
  return messages.every((message) => message !== null) ? messages : null;
}

/**
 * A message without null properties, as transformers passes it to templates: Parquet stores absent properties as null.
 */
function asMessage(value: unknown): Message | null {
  if (!isJsonObject(value)) return null;
  const present = Object.fromEntries(Object.entries(value).filter(([, item]) => item !== null));
  const { from, value: shareGptContent, ...properties } = present;
  const { role = roleOf(from), content = shareGptContent } = properties;
  if (typeof role !== "string") return null;
  return withReasoning({
    ...properties,
    role,
    ...(content === undefined ? {} : { content: joinTextParts(content) }),
  });
}

/**
 * Copies the reasoning to each name that templates use for it (`_alias_reasoning_fields` in
 * utils/chat_template_utils.py of transformers).
 */
function withReasoning(message: Message): Message {
  const reasoning = message.reasoning_content ?? message.thinking ?? message.reasoning;
  if (reasoning === undefined) return message;
  return { thinking: reasoning, ...message, reasoning_content: reasoning };
}

function roleOf(from: unknown): unknown {
  if (typeof from !== "string") return from;
  const name = from.toLowerCase();
  return ROLES.get(name) ?? name;
}

/** Joins content that is a list of text parts, the form for multimodal models; returns other content unchanged. */
function joinTextParts(content: unknown): unknown {
  if (!Array.isArray(content)) return content;
  const texts = content.map((part) => (isJsonObject(part) && part.type === "text" ? part.text : undefined));
  return texts.every((text) => typeof text === "string") ? texts.join("") : content;
}
