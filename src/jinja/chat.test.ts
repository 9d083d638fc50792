import { expect, test } from "vitest";
import { compileChat } from "./chat.ts";

const VALUES = {
  messages: [
    { role: "system", content: "  Be brief.\n" },
    { role: "user", content: "Hi\n  there" },
    { role: "assistant", content: "<think>\nhmm\n</think>\n\n    return x\n" },
    { role: "user", content: "" },
  ],
  bos_token: "<s>",
  eos_token: "</s>",
  tools: null,
  documents: null,
  add_generation_prompt: true,
};

/** Templates and their texts for VALUES in the environment of transformers 5.24 (jinja2 3.1.6). */
const RENDERED: readonly (readonly [template: string, text: string])[] = [
  [
    "{% for m in messages %}{{ m.content.lstrip('\\n') }}|{{ m.content.strip('\\n') }}|{{ m.content.rstrip('\\n') }}|{{ m.content.strip() }}\n{% endfor %}",
    "  Be brief.\n|  Be brief.|  Be brief.|Be brief.\nHi\n  there|Hi\n  there|Hi\n  there|Hi\n  there\n<think>\nhmm\n</think>\n\n    return x\n|<think>\nhmm\n</think>\n\n    return x|<think>\nhmm\n</think>\n\n    return x|<think>\nhmm\n</think>\n\n    return x\n|||\n",
  ],
  [
    "{{ true }} {{ none }} {{ ['a', 1, none] }} {{ {'a': 'b'} }} {{ 1.0 }} {{ -1 % 2 }} {{ 7 // 2 }} {{ 'USER'|capitalize }} {{ 'a' ~ none ~ 1 }}",
    "True None ['a', 1, None] {'a': 'b'} 1.0 1 3 User aNone1",
  ],
  [
    "{{ missing }}|{{ missing is defined }}|{{ missing | default('x') }}|{{ 'a' ~ missing }}|{{ missing | trim }}|{{ missing | length }}|{{ missing == none }}|{{ not missing }}",
    "|False|x|a||0|False|True",
  ],
  [
    "{% if messages[0]['role'] == 'system' %}{% set loop_messages = messages[1:] %}{% set sys = messages[0]['content'] %}{% else %}{% set loop_messages = messages %}{% set sys = false %}{% endif %}{% for m in loop_messages %}{% if (m['role'] == 'user') != (loop.index0 % 2 == 0) %}{{ 'ODD' }}{% endif %}{{ bos_token + m['role'] + '\\n' + m['content'] | trim + eos_token }}{% endfor %}",
    "<s>user\nHi\n  there</s><s>assistant\n<think>\nhmm\n</think>\n\n    return x</s><s>user\n</s>",
  ],
  [
    "{%- macro show(x, y='d') -%}<{{ x }}{{ y }}>{%- endmacro -%}{% for m in messages %}{{ show(m.role) }}{{ show(m.role, loop.last) }}{% endfor %}",
    "<systemd><systemFalse><userd><userFalse><assistantd><assistantFalse><userd><userTrue>",
  ],
  [
    "{{ messages | tojson }}\n{{ {'b': 1, 'a': 'é<'} | tojson }}{{ {'b': [1,2]} | tojson(indent=2) }}",
    '[{"role": "system", "content": "  Be brief.\\n"}, {"role": "user", "content": "Hi\\n  there"}, {"role": "assistant", "content": "<think>\\nhmm\\n</think>\\n\\n    return x\\n"}, {"role": "user", "content": ""}]\n{"b": 1, "a": "é<"}{\n  "b": [\n    1,\n    2\n  ]\n}',
  ],
  [
    "{{ messages[0].keys() | list }} {% for k, v in messages[1].items() %}{{ k }}={{ v }};{% endfor %}{% for k, v in messages[1] | items %}{{ k }}={{ v }};{% endfor %}",
    "['role', 'content'] role=user;content=Hi\n  there;role=user;content=Hi\n  there;",
  ],
  [
    "{% if tools is not none and tools %}T{% else %}N{% endif %}{% if documents %}D{% endif %}{{ messages[1].tool_calls is defined }}{{ messages[1].get('x', 'no') }}{{ messages | map(attribute='role') | join(',') }} {{ messages | selectattr('role', 'equalto', 'user') | list | length }}",
    "NFalsenosystem,user,assistant,user 2",
  ],
  [
    "{% set content = messages[2].content %}{% if '</think>' in content %}{% set r = content.split('</think>')[0].rstrip('\\n').split('<think>')[-1].lstrip('\\n') %}{% set content = content.split('</think>')[-1].lstrip('\\n') %}{% endif %}{{ r }}~{{ content }}~{{ r.strip('\\n') }}",
    "hmm~    return x\n~hmm",
  ],
  [
    "   {% for m in messages %}\n    {% if m.role == 'user' %}\n  x {{ m.role }}\n    {% endif %}\n{% endfor %}\nend\n",
    "  x user\n  x user\nend",
  ],
  [
    "{% if true %}\r\n  {%- if true %}\r\n a\r\n{% endif %}{% endif %}\r{{ messages[1].role }}\r\n",
    " a\nuser",
  ],
  [
    "{% for part in messages[1].content | selectattr('type', 'equalto', 'text') %}{{ part.text }}{% endfor %}{{ 'ab' | selectattr('x') | list }}",
    "[]",
  ],
  ["{{ missing|trim }}|{{ none|trim }}|{{ missing|upper }}|{{ 1.0|trim }}", "|None||1.0"],
  [
    "{{ missing is iterable }} {{ missing is sequence }} {{ messages[0] is iterable }} {{ none is iterable }} {{ missing or 'x' }}{{ 'a' if missing }} {{ ('a' if missing) is defined }}",
    "True True True False x False",
  ],
  [
    "{{ messages[2].content.startswith('<think>') and not messages[2].content.endswith('\\n') }} {{ 'a,b'.split(',') }} {{ 'a  b'.split() }} {{ 'aXbX'.replace('X', '-') }} {{ 'ab'.title() }} {{ 'AB'.lower() }} {{ 'ab'|upper|lower }}",
    "False ['a', 'b'] ['a', 'b'] a-b- Ab ab ab",
  ],
  [
    "{% set x %}a{{ messages[1].role }}{% endset %}{{ x }} {{ 2 + 3 * 2 }} {{ 7 / 2 }} {{ (1, 2) }} {{ 'x' * 3 if false else 'y' }} {{ '%s' }} {{ \"it's\" }} {{ ['it\\'s', \"a\\nb\"] }}",
    "auser 8 3.5 (1, 2) y %s it's [\"it's\", 'a\\nb']",
  ],
  [
    "{%- for m in messages -%}{{- '<|' + m.role + '|>' -}}{{- m.content -}}{%- endfor -%}{%- if add_generation_prompt -%}{{- '<|assistant|>' -}}{%- endif -%}",
    "<|system|>  Be brief.\n<|user|>Hi\n  there<|assistant|><think>\nhmm\n</think>\n\n    return x\n<|user|><|assistant|>",
  ],
  [
    "{{ 'a' if missing else 'b' }}{% if missing is none %}n{% endif %}{% if x is undefined %}u{% endif %}{% for q in missing %}z{% endfor %}",
    "bu",
  ],
  [
    "{{ messages[0]['content'] | replace('Be', 'Do') | indent(2) }} {{ [3,1,2] | sort }} {{ ['b','A'] | sort }} {{ [1,2,3] | first }} {{ [1,2,3]|last }} {{ [1,2]|reverse|list }} {{ 'a'|safe }} {{ 5|string + '6' }} {{ '7'|int + 1 }} {{ -3|abs }} {{ 'x-y'|title }}",
    "  Do brief.\n [1, 2, 3] ['A', 'b'] 1 3 [2, 1] a 56 8 3 X-Y",
  ],
  [
    "{{ 2.0|tojson }} {{ [1, -0.0, 0.00001, 7 / 2, true] | tojson }} {{ 'é<\\u2028' | tojson }} {{ {'é': ['😀'] } | tojson(ensure_ascii=true) }} {{ {'b': 1.0, 'Z': [] } | tojson(sort_keys=true, separators=(',', ':')) }}",
    '2.0 [1, -0.0, 1e-05, 3.5, true] "é< " {"\\u00e9": ["\\ud83d\\ude00"]} {"Z":[],"b":1.0}',
  ],
  [
    "{{ {'b': {'x': [1.5, {}], 'y': []}, 'a': none} | tojson(indent=4) }}{{ [1, 2] | tojson(false, 1) }}",
    '{\n    "b": {\n        "x": [\n            1.5,\n            {}\n        ],\n        "y": []\n    },\n    "a": null\n}[\n 1,\n 2\n]',
  ],
  [
    "{{ {'b': 1, 'A': 2.0} | dictsort }} {{ {'b': 1, 'a': 2} | dictsort(by='value', reverse=true) }}{% for k, v in {'b': 1, 'a': 2} | dictsort %} {{ k }}{{ v }}{% endfor %} {{ ({'b': 1} | dictsort)[0] == ('b', 1) }}",
    "[('A', 2.0), ('b', 1)] [('a', 2), ('b', 1)] a2 b1 True",
  ],
];

test.each(RENDERED)("%j is rendered as transformers renders it", (template, text) => {
  expect(compileChat(template)(VALUES)).toBe(text);
});

test("takes the characters of a text by code points, as slices do", () => {
  const render = compileChat("{{ s[0] }}|{{ s[-2] }}|{{ s[1:2] }}|{{ s[3] }}|{{ s[3] is defined }}");
  expect(render({ s: "😀é🙂" })).toBe("😀|é|é||False");
});

test("walks a long text character by character", () => {
  const render = compileChat("{% for i in range(s|length) %}{{ s[i] if i % 1000 == 0 }}{% endfor %}");
  expect(render({ s: "ab😀d".repeat(5000) })).toBe("a".repeat(20));
});

test("writes the date as strftime does", () => {
  const render = compileChat("{{ strftime_now('%d %B %Y, %-m/%-d, %m %H:%M %-H %%') }}");
  expect(render({})).toBe("26 July 2024, 7/26, 07 00:00 0 %");
});

test("refuses sums of what is no text, as transformers does", () => {
  for (const content of [1, true, { a: 1 }, [{ type: "image" }]]) {
    const values = { ...VALUES, messages: [{ role: "user", content }] };
    expect(() => compileChat("{{ 'User: ' + messages[0].content }}")(values)).toThrow(
      "for +, got a text and",
    );
  }
  expect(() => compileChat("{{ missing + 'a' }}")(VALUES)).toThrow("got an undefined value and a text");
});

test.each([
  ["{{ messages[0].x.y }}", "expected a value with y, got an undefined one"],
  ["{{ messages[9].role is defined }}", "expected a value with role, got an undefined one"],
  ["{{ messages[0].x['y'] }}", "expected a value with parts, got an undefined one"],
  ["{{ missing.strip() }}", "expected a value with strip, got an undefined one"],
])("refuses parts of what is undefined, as transformers does: %s", (template, problem) => {
  expect(() => compileChat(template)(VALUES)).toThrow(problem);
});
