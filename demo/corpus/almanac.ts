/**
 * Articles of an almanac of an invented country, in a dry reference register.
 *
 * The facts come from almanac-world.ts and are the same in every article; the
 * choice and order of the sentences differ from one article to the next.
 */
import { FIGURES, type Figure, PLANTS, type Plant, TOWNS, type Town } from "./almanac-world.ts";
import { capital, createRng, type Rng } from "./prng.ts";

function thousands(value: number): string {
  return value >= 1000
    ? `${Math.floor(value / 1000)},${String(value % 1000).padStart(3, "0")}`
    : String(value);
}

function a(noun: string): string {
  return /^[aeiou]/u.test(noun) ? `an ${noun}` : `a ${noun}`;
}

function townArticle(rng: Rng, town: Town): string {
  const { name, province, river, people, founded, trade, sight } = town;
  const first = rng.pick([
    `${name} is a town in ${province}, situated on the River ${river}.`,
    `${name} is a municipality on the River ${river} in ${province}.`,
    `The town of ${name} lies in ${province}, on the left bank of the River ${river}.`,
  ]);
  const neighbours = TOWNS.filter((other) => other.river === river && other.name !== name).map(
    (other) => other.name,
  );
  const facts = [
    rng.pick([
      `It has a population of ${thousands(people)}.`,
      `At the last census it had ${thousands(people)} inhabitants.`,
    ]),
    rng.pick([
      `The settlement was founded in ${founded}.`,
      `It is first mentioned in a charter of ${founded}.`,
    ]),
    rng.pick([
      `The local economy is based on ${trade}.`,
      `Since the ${Math.floor(founded / 100) + 2}th century the town has been known for ${trade}.`,
    ]),
    rng.pick([`Among its monuments is ${sight}.`, `Visitors are shown ${sight}, which is protected by law.`]),
    neighbours.length > 1
      ? `Other towns on the same river are ${rng.sample(neighbours, 2).join(" and ")}.`
      : `No other town lies on the same river.`,
    `The district council has ${7 + (people % 13)} members, who are elected every ${3 + (founded % 4)} years.`,
  ];
  return [first, ...rng.sample(facts, rng.int(3, 6))].join(" ");
}

function plantArticle(rng: Rng, plant: Plant): string {
  const { name, kind, height, flower, month, ground, use } = plant;
  const [, family = ""] = name.split(" ");
  const first = rng.pick([
    `The ${name} is ${a(kind)} of the ${family} family.`,
    `${capital(name)}, ${a(kind)}, belongs to the ${family} family.`,
  ]);
  const facts = [
    rng.pick([
      `It reaches a height of ${height} centimetres.`,
      `Mature specimens are about ${height} centimetres tall.`,
    ]),
    rng.pick([
      `The flowers are ${flower} and appear in ${month}.`,
      `In ${month} it bears ${flower} flowers.`,
    ]),
    rng.pick([`It is usually found on ${ground}.`, `The species prefers ${ground} and avoids shade.`]),
    rng.pick([`The leaves were formerly used for ${use}.`, `Its roots yield ${use}.`]),
    `The seeds ripen ${2 + (height % 4)} months after flowering and are spread by ${["birds", "the wind", "ants", "water"][height % 4] ?? ""}.`,
    `In ${rng.pick(TOWNS.slice(0, 40)).province} it is regarded as ${rng.pick(["rare", "common", "endangered", "a weed"])}.`,
  ];
  return [first, ...rng.sample(facts, rng.int(3, 6))].join(" ");
}

function figureArticle(rng: Rng, figure: Figure): string {
  const { name, born, died, town, calling, work } = figure;
  const last = name.split(" ")[1] ?? name;
  const first = rng.pick([
    `${name} (${born}-${died}) was ${a(calling)} from ${town.name}.`,
    `${name}, ${calling}, was born in ${town.name} in ${born} and died in ${died}.`,
  ]);
  const facts = [
    `${last} is remembered above all for ${work}.`,
    `The family had lived in ${town.province} for generations and earned its living by ${town.trade}.`,
    `At the age of ${18 + (born % 9)}, ${last} moved to the banks of the River ${town.river}.`,
    `The principal work, ${work}, was completed in ${born + 30 + (born % 2)}.`,
    `A street in ${town.name} is named after the ${calling}.`,
    `${last} died at the age of ${died - born}, after a long illness.`,
  ];
  return [first, ...rng.sample(facts, rng.int(3, 5))].join(" ");
}

/** Write one page of the almanac. */
export function almanac(seed: number): string {
  const rng = createRng(seed);
  const parts: string[] = [];
  for (let left = rng.int(2, 4); left > 0; left -= 1) {
    const choice = rng.next();
    if (choice < 0.5) {
      const town = rng.skewed(TOWNS);
      parts.push(`= ${town.name} =\n${townArticle(rng, town)}`);
    } else if (choice < 0.75) {
      const plant = rng.skewed(PLANTS);
      parts.push(`= ${capital(plant.name)} =\n${plantArticle(rng, plant)}`);
    } else {
      const figure = rng.skewed(FIGURES);
      parts.push(`= ${figure.name} =\n${figureArticle(rng, figure)}`);
    }
  }
  return parts.join("\n\n");
}
