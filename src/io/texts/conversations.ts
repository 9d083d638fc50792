/**
 * Conversations in files of texts: lists of messages, as data sets for chat models have them, which become text by a
 * model's chat template. Known are `messages` with `role` and `content`, and what ShareGPT made of it, `conversations`
 * with `from` and `value`.
 */
import { isJsonObject } from "../files/json.ts";

/** What a template is given: `role` is a text, `content`, where there is one, mostly one; others stay as they are. */
export type Message = Readonly<Record<string, unknown>>;
/** Messages in the order in which they were said, for a chat template to make one text of. */
export type Conversation = readonly Message[];

/** Makes a text of each conversation. @param where - what a message calls one by its index */
export type ConversationRenderer = (
  conversations: readonly Conversation[],
  where: (conversation: number) => string,
) => Promise<readonly string[]>;

/** Fields and columns that hold a conversation when none is named. */
export const CONVERSATION_FIELDS = ["messages", "conversations"] as const;

/** Names of roles in ShareGPT and what was made after it. */
const ROLES: ReadonlyMap<string, string> = new Map([
  ["human", "user"],
  ...["gpt", "chatgpt", "bot", "model"].map((name) => [name, "assistant"] as const),
]);

/** The conversation that a field's value is, null for any other value. */
export function asConversation(value: unknown): Conversation | null {
  if (!Array.isArray(value) || value.length === 0) return null;
  const messages = value.map(asMessage);
  return messages.every((message) => message !== null) ? messages : null;
}

/**
 * A message without what is null, as transformers gives it to templates: Parquet has null for all that a message has
 * not.
 */
function asMessage(value: unknown): Message | null {
  if (!isJsonObject(value)) return null;
  const given = Object.fromEntries(Object.entries(value).filter(([, item]) => item !== null));
  const { from, value: said, ...rest } = given;
  const { role = roleOf(from), content = said } = rest;
  if (typeof role !== "string") return null;
  return withReasoning({
    ...rest,
    role,
    ...(content === undefined ? {} : { content: joinedParts(content) }),
  });
}

/**
 * With reasoning under the names that templates look for it (`_alias_reasoning_fields` of transformers'
 * utils/chat_template_utils.py).
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

/** The text of parts that are texts, as models for pictures have them. */
function joinedParts(content: unknown): unknown {
  if (!Array.isArray(content)) return content;
  const texts = content.map((part) => (isJsonObject(part) && part.type === "text" ? part.text : undefined));
  return texts.every((text) => typeof text === "string") ? texts.join("") : content;
}
