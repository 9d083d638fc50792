/**
 * Short English stories from a grammar of scenes.
 *
 * A story has a hero, a friend, a place and a thing, and keeps them: names,
 * pronouns, materials and feelings agree from the first line to the last.
 * It is not a copy of any existing tale; every sentence comes from the
 * patterns below and the lexicon in story-words.ts.
 */
import { capital, createRng, type Rng } from "./prng.ts";
import {
  ANIMALS,
  DAMAGE,
  FAMILY,
  FEELINGS,
  FOODS,
  HE_NAMES,
  JOBS,
  LESSONS,
  PLACE_LOOKS,
  PLACES,
  SHE_NAMES,
  THING_LOOKS,
  THINGS,
  WEATHER,
} from "./story-words.ts";

interface Person {
  readonly name: string;
  readonly they: "she" | "he";
  readonly them: "her" | "him";
  readonly their: "her" | "his";
  readonly role: string;
}

interface Tale {
  readonly rng: Rng;
  readonly hero: Person;
  readonly friend: Person;
  readonly kin: Person;
  readonly home: string;
  readonly away: string;
  readonly thing: string;
  readonly look: string;
  readonly material: string;
  readonly animal: readonly [string, string, string];
  readonly food: string;
}

type Scene = (tale: Tale) => string;

function person(
  rng: Rng,
  role: string,
  { they, taken }: { they?: "she" | "he"; taken?: string } = {},
): Person {
  const kind = they ?? (rng.chance(0.5) ? "she" : "he");
  const names = (kind === "she" ? SHE_NAMES : HE_NAMES).filter((name) => name !== taken);
  const name = rng.skewed(names);
  return kind === "she"
    ? { name, they: kind, them: "her", their: "her", role }
    : { name, they: kind, them: "him", their: "his", role };
}

function article(word: string): string {
  return /^[aeiou]/u.test(word) ? `an ${word}` : `a ${word}`;
}

function newTale(rng: Rng): Tale {
  const hero = person(rng, rng.chance(0.5) ? "child" : rng.skewed(JOBS));
  const friend = person(rng, rng.pick(JOBS), { taken: hero.name });
  const [role, they] = rng.pick(FAMILY);
  const kin = person(rng, role, { they });
  const [home = "", away = ""] = rng.sample(PLACES, 2);
  const [thing, material] = rng.pick(THINGS);
  const look = rng.pick(THING_LOOKS);
  return {
    rng,
    hero,
    friend,
    kin,
    home,
    away,
    thing,
    look,
    material,
    animal: rng.pick(ANIMALS),
    food: rng.pick(FOODS),
  };
}

function opening({ rng, hero, home, thing, look, material, kin }: Tale): string {
  const who = hero.role === "child" ? (hero.they === "she" ? "a girl" : "a boy") : article(hero.role);
  const first = rng.pick([
    `Once there was ${who} called ${hero.name}, who lived near ${home}.`,
    `${hero.name} was ${who} and lived close to ${home} with ${hero.their} ${kin.role}.`,
    `Near ${home} lived ${who}. ${capital(hero.their)} name was ${hero.name}.`,
    `Long ago, not far from ${home}, there lived ${who} named ${hero.name}.`,
  ]);
  const second = rng.pick([
    `${capital(hero.they)} had a ${look} ${thing} made of ${material}.`,
    `Of all the things in the house, ${hero.they} loved the ${look} ${thing} most, because it was a gift from ${hero.their} ${kin.role}.`,
    `On the shelf above ${hero.their} bed stood a ${look} ${thing}, and the ${material} shone in the evening.`,
  ]);
  return `${first} ${second}`;
}

function weather({ rng, hero, away }: Tale): string {
  const [state, action] = rng.pick(WEATHER);
  return rng.pick([
    `On that day ${state}, so ${hero.name} ${action}.`,
    `When ${hero.name} came to ${away}, ${state}. ${capital(hero.they)} ${action} and went on.`,
    `Because ${state}, ${hero.they} ${action}.`,
  ]);
}

function feeling({ rng, hero, friend }: Tale): string {
  const [mood, sign] = rng.pick(FEELINGS);
  const who = rng.chance(0.6) ? hero : friend;
  return rng.pick([
    `${who.name} was so ${mood} that ${who.they} ${sign}.`,
    `${capital(who.they === hero.they && who !== hero ? who.name : who.they)} felt ${mood} and ${sign}.`,
    `"Why are you so ${mood}?" asked ${who === hero ? friend.name : hero.name}, for ${who.name} ${sign}.`,
  ]);
}

function place({ rng, away, hero }: Tale): string {
  const [one = "", two = ""] = rng.sample(PLACE_LOOKS, 2);
  return rng.pick([
    `${capital(away)} was ${one} and ${two} at that hour.`,
    `${hero.name} had never seen ${away} so ${one}.`,
    `Everybody knew that ${away} was ${one}, but today it was also ${two}.`,
  ]);
}

function animal({ rng, animal: [name, sound, food], hero, away }: Tale): string {
  return rng.pick([
    `Behind ${away} sat a ${name}. It ${sound} when it saw ${hero.name}, so ${hero.they} gave it some ${food}.`,
    `A ${name} ${sound} in the distance. "You must be hungry," said ${hero.name}, and ${hero.they} looked for ${food} in ${hero.their} pocket.`,
    `The ${name} that lived there liked nothing better than ${food}, and it ${sound} until ${hero.they} shared ${hero.their} lunch.`,
  ]);
}

function talk({ rng, hero, friend, away, thing, look, kin }: Tale): string {
  const asks = rng.pick([
    [`Have you seen my ${look} ${thing}?`, `No, but I can ask in ${away}.`],
    [`Do you know the way to ${away}?`, `Of course. Follow the path until you can see ${away}.`],
    [`What would your ${kin.role} say?`, `My ${kin.role} always says that the ${thing} can wait.`],
    [`Will you come with me?`, `I will come, but only if we are back before dark.`],
    [`Is it far to ${away}?`, `It is as far as your feet believe.`],
    [`Who made this ${thing}?`, `My ${kin.role} made it when I was small.`],
  ] as const);
  const [question, answer] = asks;
  const verb = rng.pick(["asked", "whispered", "called", "cried"]);
  const reply = rng.pick(["answered", "said", "replied", "laughed"]);
  return `"${question}" ${verb} ${hero.name}. "${answer.replace(/\.$/u, ",")}" ${reply} ${friend.name}, the ${friend.role}.`;
}

function meal({ rng, hero, friend, food, home }: Tale): string {
  return rng.pick([
    `In the evening they sat together near ${home} and ate ${food}.`,
    `${friend.name} brought ${food}, and ${hero.name} said that nothing had ever tasted better.`,
    `There was ${food} for everyone, and ${hero.name} ate until ${hero.they} could eat no more.`,
  ]);
}

function lost({ rng, hero, thing, look, away, friend, animal: [beast] }: Tale): string[] {
  const where = rng.pick([
    "under a bench",
    "in the tall grass",
    "between two stones",
    "behind the door",
    "inside a hollow tree",
  ]);
  return [
    rng.pick([
      `One morning the ${thing} was gone. ${hero.name} looked everywhere, but ${hero.they} could not find it.`,
      `Then, one day, ${hero.name} lost the ${thing} on the way to ${away}.`,
    ]),
    `${capital(hero.they)} asked ${friend.name}, the ${friend.role}, who remembered a ${look} ${thing} at ${away}.`,
    rng.pick([
      `They searched ${away} together and found the ${thing} ${where}.`,
      `At last ${friend.name} saw something ${look} ${where}. It was the ${thing}!`,
      `A ${beast} was sitting ${where}, and beside it lay the ${thing}.`,
    ]),
  ];
}

function mended({ rng, hero, thing, material, friend, kin }: Tale): string[] {
  const [harm, cure] = DAMAGE[material] ?? ["broke", "mended it"];
  return [
    rng.pick([
      `One evening the ${thing} ${harm}.`,
      `But the ${thing} ${harm}, and ${hero.name} did not know what to do.`,
    ]),
    rng.pick([
      `"It is only ${material}," said ${hero.their} ${kin.role}, "and ${material} can be mended."`,
      `${hero.name} carried it to ${friend.name}, because a ${friend.role} knows about ${material}.`,
    ]),
    rng.pick([
      `So ${friend.name} ${cure}, and ${hero.name} watched every step.`,
      `${friend.name} ${cure}. "Now you can do it too," ${friend.they} said.`,
    ]),
  ];
}

function journey({ rng, hero, away, home, friend, thing }: Tale): string[] {
  const days = rng.pick(["two", "three", "four", "five", "seven"]);
  return [
    `${hero.name} had to bring the ${thing} to ${away}, and the way from ${home} took ${days} days.`,
    rng.pick([
      `On the first day ${hero.they} met ${friend.name}, ${article(friend.role)}, who wanted to go to ${away} too.`,
      `Halfway there stood ${article(friend.role)} called ${friend.name}, and ${friend.they} offered to carry the ${thing}.`,
    ]),
    `After ${days} days they saw ${away} in front of them, and ${hero.name} gave the ${thing} to the people there.`,
  ];
}

function quarrel({ rng, hero, friend, thing, look }: Tale): string[] {
  return [
    `${hero.name} and ${friend.name} both wanted the ${look} ${thing}, and they quarrelled about it.`,
    rng.pick([
      `"You never share," shouted ${hero.name}. "And you never ask," answered ${friend.name}.`,
      `For a whole week ${hero.name} did not speak to ${friend.name}, and ${friend.name} did not speak to ${hero.name}.`,
    ]),
    rng.pick([
      `Then ${hero.name} was sorry. ${capital(hero.they)} took the ${thing} to ${friend.name} and said, "It belongs to both of us."`,
      `In the end ${friend.name} came with the ${thing} in ${friend.their} hands. "Forgive me," ${friend.they} said, and ${hero.name} did.`,
    ]),
  ];
}

function ending({ rng, hero, friend, thing, home }: Tale): string {
  const lesson = rng.pick(LESSONS);
  return rng.pick([
    `From that day on ${hero.name} knew that ${lesson}.`,
    `"You see," said ${friend.name}, "${lesson}." And ${hero.name} never forgot it.`,
    `${hero.name} put the ${thing} back in its place near ${home}, and thought: ${lesson}.`,
    `And if you pass by ${home}, you can still see the ${thing} there. It reminds everyone that ${lesson}.`,
  ]);
}

const PLOTS: readonly ((tale: Tale) => string[])[] = [lost, mended, journey, quarrel];
const FILLERS: readonly Scene[] = [weather, feeling, place, animal, talk, meal];

/** Write one story. */
export function story(seed: number): string {
  const rng = createRng(seed);
  const tale = newTale(rng);
  const parts = [opening(tale)];
  const fillers = rng.sample(FILLERS, rng.int(3, 6));
  for (const plot of rng.sample(PLOTS, rng.int(1, 2))) {
    for (const beat of plot(tale)) {
      parts.push(beat);
      const filler = fillers.pop();
      if (filler !== undefined) {
        parts.push(filler(tale));
      }
    }
  }
  parts.push(ending(tale));
  let text = "";
  for (const part of parts) {
    text += text === "" ? part : `${rng.chance(0.2) ? "\n" : " "}${part}`;
  }
  return text;
}
