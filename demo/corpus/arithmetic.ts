/**
 * Arithmetic worked out step by step in plain text.
 *
 * Every result is computed, so every line is true. The exercises use small
 * numbers; this is text for a language model, not a test of calculation.
 */
import { capital, createRng, phrases, type Rng, words } from "./prng.ts";

type Exercise = (rng: Rng) => string[];

const GOODS: readonly string[] = words(`
  apples pears plums nuts eggs buttons beads stamps shells pencils tiles bricks tickets
  candles coins cards chairs bottles spoons ribbons`);
const HOLDERS: readonly string[] = words("boxes bags baskets crates jars rows trays shelves carts drawers");
const UNITS: readonly (readonly [string, string, number])[] = [
  ["metres", "centimetres", 100],
  ["kilometres", "metres", 1000],
  ["hours", "minutes", 60],
  ["minutes", "seconds", 60],
  ["weeks", "days", 7],
  ["days", "hours", 24],
  ["dozens", "pieces", 12],
  ["kilograms", "grams", 1000],
  ["litres", "decilitres", 10],
  ["years", "months", 12],
];
const STARTS: readonly string[] = phrases("first, to begin, start here, step one");
const NEXTS: readonly string[] = phrases("then, next, after that, now");

function adding(rng: Rng): string[] {
  const [a, b] = [rng.int(11, 99), rng.int(11, 99)];
  const tens = Math.floor(a / 10) * 10 + Math.floor(b / 10) * 10;
  const ones = (a % 10) + (b % 10);
  return [
    `Add ${a} and ${b}.`,
    `Tens: ${Math.floor(a / 10) * 10} + ${Math.floor(b / 10) * 10} = ${tens}.`,
    `Ones: ${a % 10} + ${b % 10} = ${ones}.`,
    `Together: ${tens} + ${ones} = ${a + b}.`,
    `So ${a} + ${b} = ${a + b}.`,
  ];
}

function taking(rng: Rng): string[] {
  const b = rng.int(11, 60);
  const a = b + rng.int(5, 60);
  const up = Math.ceil(b / 10) * 10;
  return [
    `Subtract ${b} from ${a}.`,
    `From ${b} up to ${up} it is ${up - b}.`,
    `From ${up} to ${a} it is ${a - up}.`,
    `${up - b} + ${a - up} = ${a - b}, so ${a} - ${b} = ${a - b}.`,
  ];
}

function multiplying(rng: Rng): string[] {
  const [a, b] = [rng.int(12, 49), rng.int(3, 9)];
  const tens = Math.floor(a / 10) * 10;
  return [
    `Multiply ${a} by ${b}.`,
    `${capital(rng.pick(STARTS))}: ${tens} * ${b} = ${tens * b}.`,
    `${capital(rng.pick(NEXTS))}: ${a - tens} * ${b} = ${(a - tens) * b}.`,
    `${tens * b} + ${(a - tens) * b} = ${a * b}.`,
    `Answer: ${a} * ${b} = ${a * b}.`,
  ];
}

function dividing(rng: Rng): string[] {
  const [b, quotient] = [rng.int(3, 9), rng.int(3, 15)];
  const rest = rng.int(0, b - 1);
  const a = b * quotient + rest;
  return [
    `Divide ${a} by ${b}.`,
    `${b} * ${quotient} = ${b * quotient} and ${b} * ${quotient + 1} = ${b * (quotient + 1)}.`,
    rest === 0 ? `There is no remainder.` : `${a} - ${b * quotient} = ${rest}, which is the remainder.`,
    `Answer: ${quotient}${rest === 0 ? "" : ` remainder ${rest}`}.`,
  ];
}

function sharing(rng: Rng): string[] {
  const [count, each] = [rng.int(2, 9), rng.int(3, 12)];
  const [goods, holders] = [rng.pick(GOODS), rng.pick(HOLDERS)];
  const gone = rng.int(1, each * count - 1);
  return [
    `There are ${count} ${holders} with ${each} ${goods} each, and ${gone} ${goods} are sold. How many ${goods} are left?`,
    `All ${holders}: ${count} * ${each} = ${count * each} ${goods}.`,
    `Left: ${count * each} - ${gone} = ${count * each - gone} ${goods}.`,
  ];
}

function converting(rng: Rng): string[] {
  const [large, small, factor] = rng.pick(UNITS);
  const [amount, extra] = [rng.int(2, 12), rng.int(1, Math.min(50, factor - 1))];
  return [
    `How many ${small} are ${amount} ${large} and ${extra} ${small}?`,
    `One of the ${large} is ${factor} ${small}.`,
    `${amount} * ${factor} = ${amount * factor}.`,
    `${amount * factor} + ${extra} = ${amount * factor + extra} ${small}.`,
  ];
}

function solving(rng: Rng): string[] {
  const [x, a, b] = [rng.int(2, 12), rng.int(2, 9), rng.int(1, 20)];
  const name = rng.pick(["x", "y", "n", "k"]);
  return [
    `Solve ${a}${name} + ${b} = ${a * x + b}.`,
    `Take away ${b} on both sides: ${a}${name} = ${a * x}.`,
    `Divide both sides by ${a}: ${name} = ${x}.`,
    `Check: ${a} * ${x} + ${b} = ${a * x} + ${b} = ${a * x + b}.`,
  ];
}

function continuing(rng: Rng): string[] {
  const [start, step] = [rng.int(1, 20), rng.int(2, 12)];
  const terms = Array.from({ length: 6 }, (_, index) => start + index * step);
  return [
    `Continue the sequence ${terms.slice(0, 4).join(", ")}.`,
    `Each number is ${step} more than the one before it.`,
    `${terms[3]} + ${step} = ${terms[4]} and ${terms[4]} + ${step} = ${terms[5]}.`,
    `The sequence is ${terms.join(", ")}.`,
  ];
}

function fractions(rng: Rng): string[] {
  const d = rng.int(3, 12);
  const [a, b] = [rng.int(1, d - 1), rng.int(1, d - 1)];
  const sum = a + b;
  return [
    `Add ${a}/${d} and ${b}/${d}.`,
    `The denominators are equal, so add the numerators: ${a} + ${b} = ${sum}.`,
    sum < d
      ? `${a}/${d} + ${b}/${d} = ${sum}/${d}, which is less than one.`
      : `${a}/${d} + ${b}/${d} = ${sum}/${d}, and ${sum}/${d} = 1${sum === d ? "" : ` + ${sum - d}/${d}`}.`,
  ];
}

function area(rng: Rng): string[] {
  const [width, height] = [rng.int(3, 15), rng.int(3, 12)];
  return [
    `A rectangle is ${width} units wide and ${height} units high. Find its area and its perimeter.`,
    `Area: ${width} * ${height} = ${width * height}.`,
    `Half the perimeter: ${width} + ${height} = ${width + height}.`,
    `Perimeter: 2 * ${width + height} = ${2 * (width + height)}.`,
  ];
}

function comparing(rng: Rng): string[] {
  const [a, b, c, d] = [rng.int(2, 9), rng.int(2, 9), rng.int(2, 9), rng.int(2, 9)];
  const [left, right] = [a * b, c * d];
  const sign = left < right ? "<" : left > right ? ">" : "=";
  const told = left < right ? "smaller than" : left > right ? "larger than" : "equal to";
  return [
    `Compare ${a} * ${b} with ${c} * ${d}.`,
    `Left side: ${a} * ${b} = ${left}. Right side: ${c} * ${d} = ${right}.`,
    `${left} ${sign} ${right}, so ${a} * ${b} is ${told} ${c} * ${d}.`,
  ];
}

const EXERCISES: readonly Exercise[] = [
  adding,
  taking,
  multiplying,
  dividing,
  sharing,
  converting,
  solving,
  continuing,
  fractions,
  area,
  comparing,
];

/** Write one sheet of exercises. */
export function arithmetic(seed: number): string {
  const rng = createRng(seed);
  const kinds = rng.sample(EXERCISES, rng.int(1, 3));
  const count = rng.int(3, 7);
  const parts: string[] = [];
  for (let index = 1; index <= count; index += 1) {
    const lines = rng.pick(kinds)(rng);
    parts.push(`Exercise ${index}. ${lines.join("\n")}`);
  }
  return parts.join("\n\n");
}
