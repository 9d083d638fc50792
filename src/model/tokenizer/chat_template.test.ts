import { describe, expect, onTestFinished, test, vi } from "vitest";
import type { Message } from "../../io/texts/conversations.ts";
import type { CarriedFile } from "../model.ts";
import { chatPrompterOf, chatRendererOf, chatTemplateIn, withProcessorTemplate } from "./chat_template.ts";

/** Uses much of what real templates use. */
const TEMPLATE = `{{- bos_token }}
{%- for message in messages %}
    {%- if message.role not in ['user', 'assistant', 'system'] %}
        {{- raise_exception('unknown role ' + message.role) }}
    {%- endif %}
    {%- if loop.first and message.role == 'system' %}
        {{- '<system>' + message['content'] | trim + strftime_now(' on %d %B %Y') + '</system>\\n' }}
    {%- else %}
        {{- '<' ~ message.role ~ '>' }}{{ message.content.strip() if message.content is string else message.content | length }}</{{ message.role }}>
    {% endif %}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<assistant>' }}
{%- endif %}
{%- if not undefined_thing %}{{ eos_token }}{% endif %}`;

const CONVERSATION: readonly Message[] = [
  { role: "system", content: "Be brief." },
  { role: "user", content: " Hi\nthere " },
  { role: "assistant", content: "Hello." },
];

const file = (name: string, content: unknown): CarriedFile => ({
  name,
  bytes: Buffer.from(typeof content === "string" ? content : JSON.stringify(content)),
});
const tokens = { bos_token: "<s>", eos_token: { content: "</s>", lstrip: false } };
const where = (index: number): string => `talk ${index}`;

function modelWith(template: string) {
  const config = file("tokenizer_config.json", { ...tokens, chat_template: template });
  return { files: [config], origin: { name: "tiny", format: "hf" as const, dtype: "f32" as const } };
}

describe("chat templates", () => {
  test("render as transformers renders them, on the day that does not move", async () => {
    const model = modelWith(TEMPLATE);
    // From apply_chat_template of transformers 5.24 on 26 July 2024.
    expect(await chatRendererOf(model)!([CONVERSATION, CONVERSATION.slice(1, 2)], where)).toEqual([
      "<s><system>Be brief. on 26 July 2024</system>\n<user>Hi\nthere</user>\n<assistant>Hello.</assistant>\n</s>",
      "<s><user>Hi\nthere</user>\n</s>",
    ]);
    expect(await chatPrompterOf(model)([CONVERSATION.slice(1, 2)], where)).toEqual([
      "<s><user>Hi\nthere</user>\n<assistant></s>",
    ]);
  });

  test("are those of chat_template.jinja, else of the configuration, of several the default", () => {
    const listed = (name: string) => [
      { name: "tool_use", template: "tools" },
      { name, template: "listed" },
    ];
    const config = (template: unknown) => file("tokenizer_config.json", { chat_template: template });
    expect(chatTemplateIn([config("one")])).toBe("one");
    expect(chatTemplateIn([config(listed("default"))])).toBe("listed");
    expect(chatTemplateIn([config(listed("other"))])).toBeUndefined();
    expect(chatTemplateIn([config("one"), file("chat_template.jinja", "own")])).toBe("own");
    expect(chatTemplateIn([])).toBeUndefined();
  });

  test("are those of the processor where the tokenizer has none, and then the tokenizer's", () => {
    const processor = file("chat_template.json", { chat_template: "all" });
    const tokenizer = file("tokenizer_config.json", tokens);
    const files = withProcessorTemplate([tokenizer, processor]);
    expect(files.map(({ name }) => name)).toEqual(["tokenizer_config.json", "chat_template.jinja"]);
    expect(chatTemplateIn(files)).toBe("all");
    expect(withProcessorTemplate([tokenizer])).toEqual([tokenizer]);
    for (const own of [
      file("chat_template.jinja", "own"),
      file("tokenizer_config.json", { chat_template: "own" }),
    ]) {
      expect(withProcessorTemplate([processor, own])).toEqual([own]);
    }
    const empty = file("chat_template.jinja", "");
    expect(withProcessorTemplate([empty, processor])).toEqual([files[1]]);
    for (const wrong of [{}, { chat_template: [] }, [], { chat_template: "x".repeat(2 ** 20 + 1) }]) {
      expect(() => withProcessorTemplate([file("chat_template.json", wrong)])).toThrow(
        expect.objectContaining({
          code: "BAD_FILE",
          message: expect.stringMatching(/^chat_template\.json: /),
        }),
      );
    }
  });

  test.each([
    // SmolVLM's and LLaVA's, shortened. The texts are those that transformers makes of parts.
    [
      "{% for m in messages %}{{ m.role }}:{% if m['content'][0]['type'] == 'image' %}!{% endif %}" +
        "{% for part in m['content'] %}{% if part['type'] == 'text' %}{{ part['text'] }}{% endif %}{% endfor %};{% endfor %}",
      "system:Be brief.;user: Hi\nthere ;assistant:Hello.;",
    ],
    [
      "{% for m in messages %}{{ m.role }}:{% for part in m['content'] | selectattr('type', 'equalto', 'text') %}" +
        "{{ part['text'] }}{% endfor %};{% endfor %}",
      "system:Be brief.;user: Hi\nthere ;assistant:Hello.;",
    ],
  ])("get contents in parts where they make nothing of a string: %s", async (template, expected) => {
    const parts = [{ type: "image" }, { type: "text", text: "What?" }];
    const pictures: readonly Message[] = [{ role: "user", content: parts }];
    const texts = await chatRendererOf(modelWith(template))!([pictures, CONVERSATION, pictures], where);
    expect(texts[1]).toBe(expected);
    expect([texts[0], texts[2]]).toEqual(Array(2).fill(expect.stringMatching(/^user:!?What\?;$/)));
  });

  test("get strings where parts are of no use either", async () => {
    expect(await chatRendererOf(modelWith("{{ messages | length }}"))!([CONVERSATION], where)).toEqual(["3"]);
    const upper = modelWith("{% for m in messages %}{{ m.content.upper() }}{% endfor %}");
    expect(await chatRendererOf(upper)!([CONVERSATION.slice(1)], where)).toEqual([" HI\nTHERE HELLO."]);
  });

  test("say which conversation they do not take", async () => {
    const render = chatRendererOf(modelWith(TEMPLATE))!;
    await expect(render([CONVERSATION, [{ role: "judge", content: "" }]], where)).rejects.toMatchObject({
      code: "BAD_TEXT",
      message: "tiny: chat template, talk 1: unknown role judge",
    });
    await expect(chatRendererOf(modelWith("{% for %}"))!([CONVERSATION], where)).rejects.toMatchObject({
      code: "BAD_TEXT",
      message: expect.stringMatching(/^tiny: chat template, talk 0: /),
    });
  });

  test("know of no tools and no documents", async () => {
    const asking =
      "{% for given in [tools, documents] %}{{ 'some' if given is not none else 'none ' }}{% endfor %}";
    expect(await chatRendererOf(modelWith(asking))!([CONVERSATION], where)).toEqual(["none none "]);
  });

  test("may take long on a machine that is busy otherwise", async () => {
    vi.useFakeTimers({ toFake: ["setTimeout", "setInterval"] });
    onTestFinished(() => void vi.useRealTimers());
    const rendering = chatRendererOf(modelWith(TEMPLATE))!([CONVERSATION], where);
    vi.advanceTimersByTime(3_600_000);
    expect(await rendering).toHaveLength(1);
  });

  test("end when they make too much of many conversations", async () => {
    const doubling =
      "{% set ns = namespace(t='ab') %}{% for i in range(24) %}{% set ns.t = ns.t + ns.t %}{% endfor %}{{ ns.t }}";
    const conversations = new Array<typeof CONVERSATION>(40).fill(CONVERSATION);
    await expect(chatRendererOf(modelWith(doubling))!(conversations, where)).rejects.toMatchObject({
      code: "BAD_FILE",
      message: expect.stringMatching(
        /^tiny: chat template, talk 8: .* at most 268435456 characters for all records, got more$/,
      ),
    });
  }, 60_000);

  test("are missed where a model has none, or none of several is the default", () => {
    const model = { ...modelWith(""), files: [] };
    expect(chatRendererOf(model)).toBeUndefined();
    expect(chatRendererOf(modelWith(""))).toBeUndefined();
    expect(() => chatPrompterOf(model)).toThrow("chat: expected a model with a chat template, got tiny");
    const listed = [{ name: "tool_use", template: "x" }];
    const several = { ...model, files: [file("tokenizer_config.json", { chat_template: listed })] };
    expect(() => chatPrompterOf(several)).toThrow(
      expect.objectContaining({ hint: "It has several, but none is named default." }),
    );
  });
});
