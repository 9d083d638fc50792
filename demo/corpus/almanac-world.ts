/**
 * The facts of an invented country, for the almanac.
 *
 * The facts are made once from a fixed seed: each town keeps its province, its
 * river, its size and its trade in every article. None of them is true.
 */
import { at, capital, createRng, phrases, type Rng, words } from "./prng.ts";

/** What the almanac knows about a town. */
export interface Town {
  readonly name: string;
  readonly province: string;
  readonly river: string;
  readonly people: number;
  readonly founded: number;
  readonly trade: string;
  readonly sight: string;
}

/** What the almanac knows about a plant. */
export interface Plant {
  readonly name: string;
  readonly kind: string;
  readonly height: number;
  readonly flower: string;
  readonly month: string;
  readonly ground: string;
  readonly use: string;
}

/** What the almanac knows about a person. */
export interface Figure {
  readonly name: string;
  readonly born: number;
  readonly died: number;
  readonly town: Town;
  readonly calling: string;
  readonly work: string;
}

const STARTS: readonly string[] = words(`
  Ar Bel Cor Dun Eth Far Gal Hol Is Jor Kel Lor Mar Nor Or Pel Quin Ros Sil Tor Ul Ver Win Yar Zan`);
const MIDDLES: readonly string[] = words("a e i o an en in or el ar is ul");
const TOWN_ENDS: readonly string[] = words("ford mere wick ton burg holm dale haven stead port");
const PERSON_ENDS: readonly string[] = words("ric wen dan mond lind beth gard win sel tan");
const RIVERS: readonly string[] = words(`
  Aune Brell Coss Dray Eske Fenna Gorle Hest Ivel Lann Merle Nith Orr Pense Rill Sarn Teme Usk
  Wend Yarrel`);
const PROVINCES: readonly string[] = phrases(`
  Upper Garth, Lower Garth, the Saltmarch, Westerland, the High Fells, Eastreach, the Lake
  Province, Southmoor, the Vale of Tarn, Northcliff`);
const TRADES: readonly string[] = phrases(`
  glass making, salt mining, ship building, cheese making, paper milling, wool weaving, bell
  founding, fishing, wine growing, slate quarrying, clock making, brewing, leather tanning,
  printing, pottery, bee keeping`);
const SIGHTS: readonly string[] = phrases(`
  a stone bridge with nine arches, a round market hall, a museum of old maps, a leaning bell
  tower, a botanical garden, a covered theatre, a ruined fortress, a long sea wall, a town hall
  with a green roof, a cathedral with two organs, an observatory, a canal lock from the first age
  of steam`);
const PLANT_FIRST: readonly string[] = words(`
  marsh rock golden hairy creeping dwarf winter sweet bitter silver common thorny blue water wood
  shade`);
const PLANT_SECOND: readonly string[] = words(`
  fernel bellwort tansel mallin sorrick thrift vetchling campel woodry merrow saxel dockin`);
const PLANT_KINDS: readonly string[] = phrases(`
  shrub, climbing herb, perennial herb, small tree, annual herb, aquatic plant`);
const FLOWERS: readonly string[] = phrases(`
  pale yellow, deep red, white, violet, sky blue, orange, greenish, pink with dark veins`);
const MONTHS: readonly string[] = words("February March April May June July August September October");
const GROUNDS: readonly string[] = phrases(`
  chalk, wet clay, sandy soil, peat, limestone, granite slopes, river banks, damp meadows`);
const USES: readonly string[] = phrases(`
  a yellow dye, a remedy for cough, tea, rope fibre, lamp oil, fodder, soap, a spice, basket work`);
const CALLINGS: readonly string[] = phrases(`
  astronomer, composer, bridge engineer, botanist, painter, historian, physician, poet, mapmaker,
  chemist, explorer, architect`);
const WORKS: Readonly<Record<string, readonly string[]>> = {
  astronomer: ["a catalogue of double stars", "tables of the tides"],
  composer: ["eleven string quartets", "an opera about the sea"],
  "bridge engineer": ["the first iron bridge of the country", "a method for testing cables"],
  botanist: ["a flora of the northern provinces", "a study of mosses"],
  painter: ["large views of harbours", "portraits of weavers"],
  historian: ["a chronicle of the river wars", "a history of the guilds"],
  physician: ["a treatise on fevers", "the first public hospital"],
  poet: ["a cycle of winter songs", "an epic in twelve books"],
  mapmaker: ["the great road map", "charts of the southern coast"],
  chemist: ["a process for white glass", "experiments with salts"],
  explorer: ["a journey to the source of the rivers", "the crossing of the ice field"],
  architect: ["the national library", "plans for a round city"],
};

function named(rng: Rng, ends: readonly string[], used: Set<string>): string {
  for (;;) {
    const name = capital(rng.pick(STARTS) + (rng.chance(0.6) ? rng.pick(MIDDLES) : "") + rng.pick(ends));
    if (!used.has(name)) {
      used.add(name);
      return name;
    }
  }
}

function makeTowns(rng: Rng): Town[] {
  const used = new Set<string>();
  return Array.from({ length: 160 }, () => ({
    name: named(rng, TOWN_ENDS, used),
    province: rng.pick(PROVINCES),
    river: rng.pick(RIVERS),
    people: rng.int(8, 990) * 100,
    founded: rng.int(90, 178) * 10,
    trade: rng.pick(TRADES),
    sight: rng.pick(SIGHTS),
  }));
}

function makePlants(rng: Rng): Plant[] {
  const names = PLANT_FIRST.flatMap((first) => PLANT_SECOND.map((second) => `${first} ${second}`));
  return rng.sample(names, 100).map((name) => ({
    name,
    kind: rng.pick(PLANT_KINDS),
    height: rng.int(1, 30) * 10,
    flower: rng.pick(FLOWERS),
    month: rng.pick(MONTHS),
    ground: rng.pick(GROUNDS),
    use: rng.pick(USES),
  }));
}

function makeFigures(rng: Rng, towns: readonly Town[]): Figure[] {
  const used = new Set<string>();
  return Array.from({ length: 100 }, (_, index) => {
    const born = rng.int(1500, 1890);
    const calling = rng.pick(CALLINGS);
    return {
      name: `${named(rng, PERSON_ENDS, used)} ${at(towns, index).name.slice(0, 3)}ley`,
      born,
      died: born + rng.int(32, 91),
      town: rng.pick(towns),
      calling,
      work: rng.pick(WORKS[calling] ?? [""]),
    };
  });
}

const source: Rng = createRng(52817);

/** All towns of the country. */
export const TOWNS: readonly Town[] = makeTowns(source);

/** All plants of the country. */
export const PLANTS: readonly Plant[] = makePlants(source);

/** The people who have an article. */
export const FIGURES: readonly Figure[] = makeFigures(source, TOWNS);
