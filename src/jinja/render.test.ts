import { describe, expect, onTestFinished, test, vi } from "vitest";
import { renderAll, renderTemplates, templateNames } from "./render.ts";

const RECORD = {
  half: 2.5,
  words: "it's o'clock a1b",
  dict: { k: 1, a: null },
  list: ["a", "b"],
  numbers: [2, 1],
  yes: true,
  nothing: null,
  dots: "..a..",
  marked: "<b>&'é",
  tiny: 1e-7,
  rows: [
    { a: 2, b: 0 },
    { a: 1, b: 1 },
  ],
};

/** Templates and their texts for RECORD by jinja2 3.1.6 with `StrictUndefined`. */
const RENDERED: readonly (readonly [template: string, text: string])[] = [
  [
    "{{ 1.0 }} {{ 4/2 }} {{ 5.0 // 2 }} {{ tiny }} {{ [1.0, half] }} {{ -0.0 }}",
    "1.0 2.0 2.0 1e-07 [1.0, 2.5] -0.0",
  ],
  ["{{ 123456789012345680000.0 }}", "1.2345678901234568e+20"],
  ["{{ -7 % 3 }} {{ 7 % -3 }} {{ -7.5 % 2 }} {{ 6 % 3 }}", "2 -2 0.5 0"],
  ["{{ words|title }} {{ words.title() }}", "It's O'clock A1b It'S O'Clock A1B"],
  ["{{ 'éA'|capitalize }} {{ 'ÉA'.capitalize() }}", "Éa Éa"],
  [
    "{{ 'ΑΣ'|capitalize }} {{ 'ΑΣ'.capitalize() }} {{ 'ΑΣ'.title() }} {{ 'ΑΣ ΑΑΣ'|title }} {{ 'ΑΣ'|lower }} {{ 'İΣ'.capitalize() }}",
    "Ας Ας Ας Ασ Αας ας İς",
  ],
  ["{{ dict.items()|list }} {{ dict|items|list }}", "[('k', 1), ('a', None)] [('k', 1), ('a', None)]"],
  ["{{ dict.keys()|list }} {{ dict.values()|list }} {{ (1, 2) }}", "['k', 'a'] [1, None] (1, 2)"],
  ["{% for k, v in dict.items() %}{{ k }}={{ v }};{% endfor %}", "k=1;a=None;"],
  ["{{ [1.0, yes, nothing]|join(' ') }} {{ [[1, 'a']]|join }}", "1.0 True None [1, 'a']"],
  ["{{ 1.0 ~ yes ~ nothing ~ list ~ dict }}", "1.0TrueNone['a', 'b']{'k': 1, 'a': None}"],
  ["{{ 1 == '1' }} {{ '' == false }} {{ 1 == 1.0 }} {{ 1 == yes }}", "False False True True"],
  [
    "{{ list == ['a', 'b'] }} {{ (1, 2) == [1, 2] }}{% for a, b in [(1, 2)] %} {{ b }}{% endfor %} {{ {'k': 1} == {'k': 1.0} }}",
    "True False 2 True",
  ],
  ["{{ [1] in [[1]] }} {{ none in [none] }} {{ true not in [1] }} {{ 'a' in list }}", "True True False True"],
  ["{{ list|string }} {{ yes|string }} {{ nothing|string }}", "['a', 'b'] True None"],
  [
    "{{ '12abc'|int }} {{ '12abc'|int(7) }} {{ ' 3.9 '|int }} {{ (-2.7)|int }} {{ 3.7|int(1) }}",
    "0 7 3 -2 3",
  ],
  ["{{ '1.5x'|float }} {{ 3|float(1.0) }} {{ '1e3'|float }}", "0.0 3.0 1000.0"],
  ["{{ dots.strip('.') }} {{ dots.rstrip('.') }} {{ dots.lstrip('.') }}", "a ..a a.."],
  ["{{ '\u{feff}a \x85'.strip() }}|{{ '\x1ca\x1f'.strip() }}", "\u{feff}a|a"],
  ["{{ ' a  b '.split() }} {{ 'a,b'.split(',') }} [{{ ' a '|trim }}]", "['a', 'b'] ['a', 'b'] [a]"],
  [
    "{{ marked|tojson }} {{ [1.0, dict]|tojson }}",
    '"\\u003cb\\u003e\\u0026\\u0027\\u00e9" [1.0, {"a": null, "k": 1}]',
  ],
  ["{{ 'a\x7f~'|tojson }}", '"a\\u007f~"'],
  ["{{ ['a', 'A', 'b']|unique|list }} {{ [2, 1]|reverse|list }}", "['a', 'b'] [1, 2]"],
  ["{{ rows|selectattr('b')|map(attribute='a')|list }} {{ range(3)|list }}", "[1] [0, 1, 2]"],
  ["{{ list|length }} {{ words|length }} {{ dict|length }} {{ words|list|first }}", "2 16 2 i"],
  ["a\r\n{{ 'b\r\nc' }}\r\r\n{{ 'd\\r' }}\r", "a\nb\nc\n\nd\r\n"],
  [
    "{{ nothing|trim }} {{ 5|trim }} {{ list|trim('[') }} {{ yes|upper }} {{ nothing|lower }} {{ list|title }} {{ dict|capitalize }}",
    "None 5 'a', 'b'] TRUE none ['a', 'b'] {'k': 1, 'a': none}",
  ],
  [
    "{{ half|replace('.', ',') }} {{ 'aXbXc'|replace('X', 1, 1) }} {{ 'ab'|replace('', '-') }} {{ 'ab'|replace('', '-', 2) }} {{ numbers|replace(2, 'x') }} {{ 'aa'|replace('a', 'b', count=1) }}",
    "2,5 a1bXc -a-b- -a-b [x, 1] ba",
  ],
  ["{{ ', '.join(list) }} {{ ''.join('ab') }} {{ '-'.join(dict) }}|{{ ','.join([]) }}", "a, b ab k-a|"],
  [
    "{{ list.index('b') }} {{ numbers.index(1.0) }} {{ (1, 2).index(2) }} {{ words.index('s') }} {{ '😀a'.find('a') }} {{ 'a'.find('z') }} {{ 'ab'.find('') }}",
    "1 1 1 3 1 -1 0",
  ],
  [
    "{{ list.count('a') }} {{ 'aaa'.count('aa') }} {{ 'ab'.count('') }} {{ [1, 1.0, true].count(1) }}",
    "1 1 3 3",
  ],
  [
    "{{ 'abc'.removeprefix('a') }} {{ 'abc'.removesuffix('c') }} {{ 'abc'.removesuffix('') }} {{ 'abc'.removeprefix('b') }}",
    "bc ab abc abc",
  ],
  [
    "{{ '12'.isdigit() }} {{ ''.isdigit() }} {{ '1a'.isdigit() }} {{ '٣'.isdigit() }}",
    "True False False True",
  ],
  [
    "{{ 'a' if yes else dict.b }} {{ true or dict.b }} {{ dict.b is defined }} {{ dict.b|default('x') }}",
    "a True False x",
  ],
  ["{{ 'a' if half }}|{{ 'a' if false }}|{% for x in list if x != 'b' %}{{ x }}{% endfor %}", "a||a"],
  [
    "{{ dict is iterable }} {{ half is not iterable }} {{ none is iterable }} {{ (1, 2) is sequence }}",
    "True True False True",
  ],
  [
    "{{ (3 > 2) == yes }} {{ 1 == 1 and 2 == 2 or 3 == 4 }} {{ 1 if 2 == 2 else 3 == 3 }} {{ {'a': 1 == 1, 'b': 2 in [2 == 3]} }}{% for x in list if x == 'a' %}{{ x in 'a == b' }}{% endfor %}",
    "True True 1 {'a': True, 'b': False}True",
  ],
  [
    "{% for a in list %}{% for b in numbers if b > 1 %}{{ loop.depth }}{{ loop['depth0'] }}{% endfor %}{{ loop.depth }}{{ loop.index }} {% else %}{{ half }}{% endfor %}",
    "1011 1012 ",
  ],
  ["{{ numbers|join(d='-') }} {{ undefined_one|default('x') }}", "2-1 x"],
];

describe("renderTemplates", () => {
  test("computes and prints as jinja2 does", async () => {
    const templates = Object.fromEntries(RENDERED.map(([template]) => [template, template]));
    const [texts] = await renderTemplates(templates, [RECORD], () => "here");
    expect(texts).toEqual(Object.fromEntries(RENDERED));
  });

  test("takes fields for themselves that are called as functions of templates are", async () => {
    const record = { range: [0, 5], namespace: "n", none: "x", True: 0 };
    const template = "{{ range[1] }} {{ namespace }} {{ none }} {{ True }}";
    expect(await renderTemplates({ template }, [record], () => "here")).toEqual([
      { template: "5 n None True" },
    ]);
  });

  test("renders any number of records in their order, up to one that fails", async () => {
    const records = Array.from({ length: 200 }, (_, n) => ({ n }));
    const where = (record: number): string => `record ${record}`;
    const texts = await renderTemplates({ t: "{{ n }}" }, records, where);
    expect(texts).toEqual(records.map(({ n }) => ({ t: `${n}` })));
    const short = records.map(({ n }) => (n === 150 ? {} : { n }));
    await expect(renderTemplates({ t: "{{ n }}" }, short, where)).rejects.toThrow(/^record 150: t: /);
  });

  test("ends templates that take too long", async () => {
    const endless = "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}";
    const rendering = renderAll(
      { dialect: "harness", templates: { endless } },
      { records: [RECORD], where: (record) => `record ${record}`, seconds: 0.5 },
    );
    await expect(rendering).rejects.toMatchObject({
      code: "BAD_FILE",
      message: expect.stringMatching(
        /^record 0: expected a template that needs at most 0.5 s of processor time and 512 MB, /,
      ),
    });
  });

  test("may take long while this process computes something else", async () => {
    vi.useFakeTimers({ toFake: ["setInterval"] });
    const spent = vi.spyOn(process, "cpuUsage").mockReturnValue({ user: 1.9e7, system: 1.1e6 });
    onTestFinished(() => {
      vi.useRealTimers();
      spent.mockRestore();
    });
    const rendering = renderTemplates({ a: "{{ half }}" }, [RECORD], (record) => `record ${record}`);
    vi.advanceTimersByTime(10_000);
    expect(await rendering).toEqual([{ a: "2.5" }]);
  });

  test("passes on what fails to name a record, and what cannot be sent", async () => {
    const nowhere = (record: number): string => {
      throw new Error(`no name for ${record}`);
    };
    await expect(renderTemplates({ t: "{{ n }}" }, [{ n: 1 }, {}], nowhere)).rejects.toThrow("no name for 1");
    await expect(renderTemplates({ t: "{{ n }}" }, [{ n: () => 1 }], () => "here")).rejects.toThrow(
      "could not be cloned",
    );
    const many = Array.from({ length: 65 }, (_, n) => (n < 64 ? { n } : { n: () => n }));
    await expect(renderTemplates({ t: "{{ n }}" }, many, () => "here")).rejects.toThrow(
      "could not be cloned",
    );
  });

  test.each([
    ["{{ 7 % 0 }}", "expected finite numbers, whole ones below 2^53, got NaN"],
    ["{{ '%s' % 'a' }}", "expected two numbers for %, got a text and a text"],
    ["{{ 2 ** 64 }}", "expected finite numbers, whole ones below 2^53, got 18446744073709552000"],
    ["{{ range(100001) }}", "range: expected at most 100000 numbers, got 100001"],
    ["{{ words.upper }}", "expected a value to print, got a function"],
    ["{{ dict.b == 1 }}", "expected a defined value, got an undefined one"],
    ["{{ dict.b or 'x' }}", "expected a defined value, got an undefined one"],
    ["{{ dict.b and 'x' }}", "expected a defined value, got an undefined one"],
    ["{{ not dict.b }}", "expected a defined value, got an undefined one"],
    ["{{ 'a' if dict.b else 'c' }}", "expected a defined value, got an undefined one"],
    ["{{ 'a' if dict.b }}", "expected a defined value, got an undefined one"],
    ["{{ dict.b if yes }}", "expected a defined value, got an undefined one"],
    ["{% if false %}{% elif dict.b %}{% endif %}", "expected a defined value, got an undefined one"],
    ["{% for x in list if x.b %}{% endfor %}", "expected a defined value, got an undefined one"],
    ["{{ dict.b is iterable }}", "expected a defined value, got an undefined one"],
    ["{{ dict.b.c is defined }}", "expected a value with c, got an undefined one"],
    ["{{ rows|join(',', attribute='a') }}", "expected arguments (d), got attribute"],
    ["{{ words.title(1) }}", "expected arguments (), got more"],
    ["{{ words.swapcase() }}", "expected a known method of a text, got swapcase"],
    ["{{ rows[0].a() }}", "expected a known method of a dict, got a"],
    ["{{ lipsum() }}", "expected a known function, got lipsum"],
    ["{{ list.index('c') }}", "index: expected a part of a list, got c"],
    ["{{ words.index('z') }}", "index: expected a part of a text, got z"],
    ["{{ ','.join(numbers) }}", "expected a text, got a number"],
    ["{{ ','.join(5) }}", "expected a list, got a number"],
    ["{{ 3 > 2 == true }}", "expected comparisons joined by and, got > before =="],
    ["{{ 1 if 1 < half < 3 else 2 }}", "expected comparisons joined by and, got < before <"],
    ["{{ [1 in numbers not in list] }}", "expected comparisons joined by and, got in before in"],
    ["{% filter upper %}a{% endfilter %}", "expected filters on values, got one on a block"],
  ])("refuses %s", async (template, problem) => {
    await expect(renderTemplates({ template }, [RECORD], () => "here")).rejects.toMatchObject({
      code: "BAD_TEXT",
      message: `here: template: ${problem}`,
    });
  });
});

describe("templateNames", () => {
  test.each([
    ["{{ a in b }} {{ a not in c }}", "a b c"],
    ["{{ a and b or not c }} {{ -d }} {{ a if e else f }}", "a b c d e f"],
    ["{{ a|join(b) }} {{ c|replace('x', d)|trim }} {{ e|map(attribute='f')|list }}", "a b c d e"],
    ["{% macro show(x, y=a) %}{{ x }}{{ y }}{{ b }}{{ varargs }}{% endmacro %}{{ show(c, y=d) }}", "a b c d"],
    ["{% macro box() %}{{ caller(1) }}{% endmacro %}{% call(x) box() %}{{ x }}{{ a }}{% endcall %}", "a"],
    ["{% if a %}{% endif %}{% for x in b if c %}{{ x.d[e] }}{{ loop.index }}{% endfor %}", "a b c e"],
    ["{% if a is defined and a is not none %}{% endif %}{% set x = b %}{{ x }}{{ c.d() }}", "a b c"],
    [
      "{{ {a: b} }} {{ [c, (d, a)] }} {{ e[f:g] }} {{ none }} {% filter upper %}{{ h }}{% endfilter %}",
      "a b c d e f g h",
    ],
  ])("are those of values that a record is to have: %j", (template, names) => {
    expect([...templateNames(template, "here")].sort().join(" ")).toBe(names);
  });
});

describe("what is no template", () => {
  test.each([
    [
      "{{ a is sameas b }}",
      'Expected closing expression token. Identifier !== CloseExpression, near "a is sameas b"',
    ],
    ["{{ (a, b c) }}", 'Expected closing parenthesis. Identifier !== CloseParen, near "a , b c"'],
    ["some {% foo %} text", 'Unknown statement type: foo, near "some {% foo"'],
    ["{% if a %} text", 'Unexpected end, near "a %} text"'],
  ])("is refused with the place: %s", (template, reason) => {
    expect(() => templateNames(template, "here")).toThrow(
      `here: expected a valid Jinja template, got: ${reason}`,
    );
  });
});
