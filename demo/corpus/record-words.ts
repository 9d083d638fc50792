/**
 * The values that records are filled with.
 *
 * It holds words only. The schemas are in records.ts.
 */
import { words } from "./prng.ts";

/** First names in records. */
export const FIRST: readonly string[] = words(`
  alma arno bela bodo carla cyril dana dirk ella enno fritz frida gero gitta hilde
  horst inga ilse jan jule kai kira lars lea malte mona nils nina olli paula quirin
  rieke rolf sven svea till tessa udo ulla veit vroni wido xaver yara zita`);

/** Last names in records. */
export const LAST: readonly string[] = words(`
  adler bach brandt busch claas dorn ebert falk fink gabel gross hahn hartig horn
  imhof jung kamp keller klee kranz lang linde lorenz maurer moser nagel noll ott
  pohl quast rabe reuter roth sander seidel stein thoma uhl vogt wald weber wirth zorn`);

/** Goods for sale: name, category and usual price in cents. */
export const GOODS: readonly (readonly [string, string, number])[] = [
  ["desk lamp", "office", 2450],
  ["stapler", "office", 890],
  ["paper tray", "office", 1275],
  ["ink refill", "office", 640],
  ["notebook", "office", 320],
  ["ring binder", "office", 410],
  ["garden hose", "garden", 3190],
  ["rake", "garden", 1590],
  ["flower pot", "garden", 720],
  ["grass seed", "garden", 1140],
  ["wheelbarrow", "garden", 6900],
  ["pruning shears", "garden", 1850],
  ["frying pan", "kitchen", 2790],
  ["kettle", "kitchen", 3350],
  ["bread knife", "kitchen", 1490],
  ["mixing bowl", "kitchen", 980],
  ["cutting board", "kitchen", 1260],
  ["sieve", "kitchen", 560],
  ["tennis ball", "sport", 240],
  ["yoga mat", "sport", 2190],
  ["bicycle pump", "sport", 1680],
  ["swim goggles", "sport", 1320],
  ["climbing rope", "sport", 8450],
  ["skipping rope", "sport", 790],
  ["puzzle", "toys", 1399],
  ["toy train", "toys", 4599],
  ["teddy bear", "toys", 2199],
  ["building blocks", "toys", 2899],
  ["spinning top", "toys", 450],
  ["card game", "toys", 1099],
  ["raincoat", "clothes", 5490],
  ["wool socks", "clothes", 1190],
  ["leather belt", "clothes", 2690],
  ["straw hat", "clothes", 1790],
  ["gloves", "clothes", 1590],
  ["scarf", "clothes", 1990],
];

/** Towns with their postal code and country code. */
export const TOWNS: readonly (readonly [string, number, string])[] = [
  ["Altmark", 10412, "NR"],
  ["Birkenau", 11730, "NR"],
  ["Corlin", 12055, "NR"],
  ["Dornfeld", 13871, "NR"],
  ["Elmstadt", 20344, "OS"],
  ["Farnau", 21908, "OS"],
  ["Gellin", 22460, "OS"],
  ["Hochwald", 23117, "OS"],
  ["Ilmen", 30592, "SU"],
  ["Jarnow", 31286, "SU"],
  ["Kestrup", 32749, "SU"],
  ["Lohbach", 33063, "SU"],
  ["Morvik", 40875, "WE"],
  ["Nebra", 41524, "WE"],
  ["Ostheim", 42331, "WE"],
  ["Prellin", 43690, "WE"],
  ["Quell", 50216, "ZE"],
  ["Rodau", 51947, "ZE"],
  ["Selmsdorf", 52408, "ZE"],
  ["Tarnitz", 53155, "ZE"],
];

/** Sensors: quantity, unit, lowest and highest value in tenths. */
export const SENSORS: readonly (readonly [string, string, number, number])[] = [
  ["temperature", "C", -120, 380],
  ["humidity", "%", 200, 990],
  ["pressure", "hPa", 9700, 10400],
  ["wind", "m/s", 0, 280],
  ["rain", "mm", 0, 450],
  ["noise", "dB", 300, 950],
  ["light", "lx", 0, 9900],
  ["voltage", "V", 2200, 2400],
  ["current", "A", 0, 160],
  ["level", "cm", 100, 3200],
];

/** Log levels with the messages that belong to each. */
export const LOGS: Readonly<Record<string, readonly string[]>> = {
  debug: ["cache hit", "query planned", "socket opened", "config loaded", "retry scheduled"],
  info: ["user signed in", "backup finished", "service started", "report sent", "file uploaded"],
  warn: ["disk almost full", "slow response", "token expires soon", "old client version"],
  error: ["connection refused", "file not found", "permission denied", "out of memory", "bad checksum"],
};

/** Services that write logs. */
export const SERVICES: readonly string[] = words(`
  auth billing search mail gateway storage scheduler metrics proxy catalog`);

/** Departments with the job titles in each. */
export const TEAMS: Readonly<Record<string, readonly string[]>> = {
  sales: ["sales clerk", "account manager", "sales lead"],
  finance: ["accountant", "auditor", "controller"],
  research: ["chemist", "physicist", "lab assistant", "analyst"],
  transport: ["driver", "dispatcher", "mechanic"],
  support: ["help desk agent", "trainer", "technician"],
  design: ["illustrator", "typographer", "layout artist"],
};
