/**
 * Tables of records as JSON lines, CSV or indented fields.
 *
 * Each document follows one schema. Fields agree with each other: a total is
 * price times quantity, a postal code belongs to its town, an address is made
 * from the name, identifiers and times go up.
 */
import { at, capital, createRng, type Rng } from "./prng.ts";
import { FIRST, GOODS, LAST, LOGS, SENSORS, SERVICES, TEAMS, TOWNS } from "./record-words.ts";

type Value = string | number | boolean;
type Row = readonly (readonly [string, Value])[];
type Schema = (rng: Rng, count: number) => Row[];

function two(value: number): string {
  return String(value).padStart(2, "0");
}

function money(cents: number): number {
  return Math.round(cents) / 100;
}

function fullName(rng: Rng): [string, string, string] {
  const first = rng.skewed(FIRST);
  const last = rng.skewed(LAST);
  return [capital(first), capital(last), `${first}.${last}@${rng.pick(["post", "mail", "firma"])}.example`];
}

function people(rng: Rng, count: number): Row[] {
  let id = rng.int(100, 9000);
  return Array.from({ length: count }, () => {
    id += rng.int(1, 3);
    const [first, last, mail] = fullName(rng);
    const [town, code, region] = rng.pick(TOWNS);
    return [
      ["id", id],
      ["first_name", first],
      ["last_name", last],
      ["email", mail],
      ["town", town],
      ["postal_code", code],
      ["region", region],
      ["active", rng.chance(0.8)],
    ];
  });
}

function staff(rng: Rng, count: number): Row[] {
  let number = rng.int(10, 800);
  return Array.from({ length: count }, () => {
    number += 1;
    const [first, last] = fullName(rng);
    const team = rng.pick(Object.keys(TEAMS));
    const title = rng.pick(TEAMS[team] ?? []);
    return [
      ["staff_no", `S${number}`],
      ["name", `${first} ${last}`],
      ["department", team],
      ["title", title],
      ["since", rng.int(1990, 2024)],
      ["salary", rng.int(24, 90) * 1000],
    ];
  });
}

function orders(rng: Rng, count: number): Row[] {
  let id = rng.int(1000, 90000);
  let day = rng.int(1, 12);
  const month = rng.int(1, 12);
  const year = rng.int(2015, 2024);
  return Array.from({ length: count }, () => {
    id += 1;
    day = Math.min(28, day + rng.int(0, 2));
    const [item, category, cents] = rng.pick(GOODS);
    const quantity = rng.skewed([1, 2, 3, 4, 5, 10, 12]);
    const status = rng.skewed(["shipped", "paid", "open", "returned", "cancelled"]);
    return [
      ["order_id", id],
      ["date", `${year}-${two(month)}-${two(day)}`],
      ["item", item],
      ["category", category],
      ["price", money(cents)],
      ["quantity", quantity],
      ["total", money(cents * quantity)],
      ["status", status],
    ];
  });
}

function readings(rng: Rng, count: number): Row[] {
  const [quantity, unit, low, high] = rng.pick(SENSORS);
  const station = `${at(rng.pick(TOWNS), 0)}-${rng.int(1, 9)}`.toLowerCase();
  const step = rng.pick([5, 10, 15, 30, 60]);
  let minutes = rng.int(0, 18) * 60;
  let value = rng.int(low, high);
  return Array.from({ length: count }, () => {
    minutes = (minutes + step) % 1440;
    const span = Math.max(2, Math.round((high - low) / 60));
    value = Math.max(low, Math.min(high, value + rng.int(-span, span)));
    return [
      ["station", station],
      ["time", `${two(Math.floor(minutes / 60))}:${two(minutes % 60)}`],
      ["quantity", quantity],
      ["value", value / 10],
      ["unit", unit],
    ];
  });
}

function logs(rng: Rng, count: number): Row[] {
  let second = rng.int(0, 80000);
  const services = rng.sample(SERVICES, 3);
  return Array.from({ length: count }, () => {
    second += rng.int(1, 40);
    const level = rng.skewed(["info", "debug", "warn", "error"]);
    const time = `${two(Math.floor(second / 3600) % 24)}:${two(Math.floor(second / 60) % 60)}:${two(second % 60)}`;
    return [
      ["time", time],
      ["level", level],
      ["service", rng.pick(services)],
      ["message", rng.pick(LOGS[level] ?? [])],
      ["code", { info: 200, debug: 100, warn: 300, error: 500 }[level] ?? 0],
    ];
  });
}

function trips(rng: Rng, count: number): Row[] {
  let line = rng.int(1, 60);
  return Array.from({ length: count }, () => {
    line += 1;
    const [from, to] = rng.sample(TOWNS, 2);
    const leave = rng.int(300, 1100);
    const length = rng.int(2, 30) * 5;
    const clock = (minute: number): string => `${two(Math.floor(minute / 60))}:${two(minute % 60)}`;
    return [
      ["line", `R${line}`],
      ["from", from?.[0] ?? ""],
      ["to", to?.[0] ?? ""],
      ["departs", clock(leave)],
      ["arrives", clock(leave + length)],
      ["minutes", length],
      ["platform", rng.int(1, 8)],
    ];
  });
}

function stock(rng: Rng, count: number): Row[] {
  return rng.sample(GOODS, count).map(([item, category, cents]) => {
    const amount = rng.int(0, 60);
    return [
      ["sku", `${category.slice(0, 2).toUpperCase()}-${cents}`],
      ["item", item],
      ["category", category],
      ["in_stock", amount],
      ["reorder", amount < 10],
      ["price", money(cents)],
    ];
  });
}

function asJson(rows: readonly Row[]): string {
  return rows
    .map((row) => `{${row.map(([key, value]) => `"${key}": ${JSON.stringify(value)}`).join(", ")}}`)
    .join("\n");
}

function asCsv(rows: readonly Row[], separator: string): string {
  const head = at(rows, 0).map(([key]) => key);
  return [
    head.join(separator),
    ...rows.map((row) => row.map(([, value]) => String(value)).join(separator)),
  ].join("\n");
}

function asFields(rows: readonly Row[], name: string): string {
  const lines = [`${name}:`];
  for (const row of rows) {
    row.forEach(([key, value], position) => {
      lines.push(`${position === 0 ? "  - " : "    "}${key}: ${String(value)}`);
    });
  }
  return lines.join("\n");
}

const SCHEMAS: Readonly<Record<string, Schema>> = { people, staff, orders, readings, logs, trips, stock };

/** Write one table of records. */
export function records(seed: number): string {
  const rng = createRng(seed);
  const name = rng.pick(Object.keys(SCHEMAS));
  const schema = SCHEMAS[name] ?? people;
  const rows = schema(rng, rng.int(4, 14));
  const width = at(rows, 0).length;
  const dropped = rng.chance(0.5) ? rng.int(1, width - 1) : -1;
  const kept = rows.map((row) => row.filter((_, column) => column !== dropped));
  const shape = rng.int(0, 9);
  if (shape < 4) {
    return asJson(kept);
  }
  return shape < 8 ? asCsv(kept, rng.pick([",", ",", ";"])) : asFields(kept.slice(0, 6), name);
}
