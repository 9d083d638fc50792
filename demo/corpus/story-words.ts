/**
 * The lexicon of the short stories: people, places, things and verbs.
 *
 * It holds words only. How they are put together is in stories.ts.
 */
import { phrases, words } from "./prng.ts";

/** Names of girls and women. */
export const SHE_NAMES: readonly string[] = words(`
  Mina Lotte Anna Tilda Rosa Greta Nora Ida Vera Clara Selma Hanna Edda Lina Petra
  Sanna Olga Marta Ruth Elsa Pia Juna Wilma Dora Fay Iris Kaja Lena Mabel Nell`);

/** Names of boys and men. */
export const HE_NAMES: readonly string[] = words(`
  Tom Emil Oskar Jonas Peter Aron Milo Hugo Karl Felix Bruno Anton Leo Ivo Otto
  Max Pavel Simon Theo Rasmus Finn Viktor Walter Edgar Gus Henrik Jakob Kurt Ned Olaf`);

/** What a grown-up in a story does for a living. */
export const JOBS: readonly string[] = words(`
  baker miller farmer potter weaver fisher carpenter gardener teacher smith tailor
  shepherd sailor painter clockmaker beekeeper cook postman doctor librarian cobbler
  ferryman lamplighter innkeeper musician`);

/** Places where a story can happen. */
export const PLACES: readonly string[] = phrases(`
  the village, the old mill, the harbour, the forest, the market, the garden, the river,
  the hill, the orchard, the school, the lighthouse, the meadow, the bakery, the barn,
  the bridge, the castle, the island, the lake, the library, the tower, the valley,
  the workshop, the pond, the quarry, the station, the vineyard, the well, the cave,
  the beach, the windmill`);

/** Words for how a place looks. */
export const PLACE_LOOKS: readonly string[] = words(`
  quiet dark bright cold narrow wide green dusty empty noisy lonely sunny foggy steep
  muddy peaceful crowded strange lovely ancient`);

/** Small things that can be lost, given or made, with what they are made of. */
export const THINGS: readonly (readonly [string, string])[] = [
  ["cup", "glass"],
  ["lamp", "glass"],
  ["bottle", "glass"],
  ["mirror", "glass"],
  ["vase", "glass"],
  ["marble", "glass"],
  ["letter", "paper"],
  ["map", "paper"],
  ["book", "paper"],
  ["kite", "paper"],
  ["picture", "paper"],
  ["lantern", "paper"],
  ["scarf", "wool"],
  ["blanket", "wool"],
  ["hat", "wool"],
  ["coat", "wool"],
  ["mitten", "wool"],
  ["sock", "wool"],
  ["boat", "wood"],
  ["flute", "wood"],
  ["box", "wood"],
  ["spoon", "wood"],
  ["chair", "wood"],
  ["wheel", "wood"],
  ["ladder", "wood"],
  ["bowl", "clay"],
  ["jug", "clay"],
  ["pot", "clay"],
  ["whistle", "clay"],
  ["plate", "clay"],
  ["key", "iron"],
  ["bell", "iron"],
  ["hammer", "iron"],
  ["kettle", "iron"],
  ["anchor", "iron"],
  ["needle", "iron"],
  ["ring", "silver"],
  ["coin", "silver"],
  ["watch", "silver"],
  ["thimble", "silver"],
  ["necklace", "silver"],
  ["ribbon", "silk"],
  ["purse", "silk"],
  ["dress", "silk"],
  ["flag", "silk"],
  ["basket", "straw"],
  ["broom", "straw"],
  ["mat", "straw"],
  ["drum", "leather"],
  ["boot", "leather"],
  ["saddle", "leather"],
  ["bag", "leather"],
];

/** What goes wrong with a thing of each material, and how it is put right. */
export const DAMAGE: Readonly<Record<string, readonly [string, string]>> = {
  glass: ["fell on the stones and cracked", "found a new piece of glass and set it with putty"],
  paper: ["got wet and tore in two", "dried it by the fire and pasted the halves together"],
  wool: ["caught on a nail and began to unravel", "knitted the loose rows again with thick yarn"],
  wood: ["split down the middle", "glued the split and tied it with cord until it held"],
  clay: ["slipped off the shelf and lost a piece", "mixed fresh clay and baked it in the oven"],
  iron: ["was covered with rust", "rubbed it with sand and oil until it shone"],
  silver: ["was bent and black", "hammered it straight and polished it with chalk"],
  silk: ["was stained with mud", "washed it in warm water and hung it in the shade"],
  straw: ["came apart in the wind", "wove new straw into the gaps"],
  leather: ["was stiff and torn", "sewed the tear and rubbed it with wax"],
};

/** Words for how a thing looks. */
export const THING_LOOKS: readonly string[] = words(`
  red blue green yellow white black brown golden tiny heavy old new shiny round
  pretty plain striped painted broken little`);

/** Animals, with the sound each makes and what it likes to eat. */
export const ANIMALS: readonly (readonly [string, string, string])[] = [
  ["cat", "meowed", "cream"],
  ["dog", "barked", "bones"],
  ["goat", "bleated", "cabbage"],
  ["hen", "clucked", "corn"],
  ["duck", "quacked", "bread"],
  ["owl", "hooted", "mice"],
  ["horse", "neighed", "oats"],
  ["cow", "mooed", "hay"],
  ["frog", "croaked", "flies"],
  ["crow", "cawed", "seeds"],
  ["pig", "grunted", "apples"],
  ["wolf", "howled", "meat"],
  ["mouse", "squeaked", "cheese"],
  ["donkey", "brayed", "carrots"],
  ["goose", "honked", "grass"],
  ["bear", "growled", "honey"],
  ["sparrow", "chirped", "crumbs"],
  ["fox", "yelped", "eggs"],
];

/** Food that people share. */
export const FOODS: readonly string[] = phrases(`
  warm bread, plum cake, pea soup, apple pie, roasted chestnuts, honey buns, cherry jam,
  hot milk, fresh cheese, barley porridge, pancakes, baked pears, mushroom stew,
  gingerbread, dumplings, blackberry tea`);

/** Weather, with what people do because of it. */
export const WEATHER: readonly (readonly [string, string])[] = [
  ["it was raining hard", "pulled up the hood"],
  ["the sun was burning", "rested in the shade"],
  ["snow was falling", "put on thick gloves"],
  ["a strong wind was blowing", "held on to the fence"],
  ["fog covered everything", "walked slowly and listened"],
  ["thunder rolled far away", "hurried along the path"],
  ["the night was clear", "counted the stars"],
  ["the ground was frozen", "stepped with great care"],
  ["the air smelled of hay", "took a deep breath"],
  ["the first leaves were falling", "gathered a handful of them"],
];

/** Feelings, with what shows them. */
export const FEELINGS: readonly (readonly [string, string])[] = [
  ["sad", "wept a little"],
  ["happy", "laughed out loud"],
  ["angry", "stamped on the floor"],
  ["afraid", "trembled all over"],
  ["tired", "yawned again and again"],
  ["proud", "stood up very straight"],
  ["ashamed", "looked at the ground"],
  ["curious", "asked a hundred questions"],
  ["worried", "could not sit still"],
  ["lonely", "stared out of the window"],
  ["grateful", "said thank you three times"],
  ["surprised", "dropped everything"],
];

/** Lessons with which a story can end. */
export const LESSONS: readonly string[] = phrases(`
  a friend is worth more than silver, patience mends what haste has broken,
  the smallest help can be the greatest, it is better to ask than to guess,
  a promise must be kept, what is shared tastes twice as good,
  even a long road ends at somebody's door, brave people are often afraid,
  listening is also work, nobody is too old to learn,
  a kind word opens more doors than a key, whoever tells the truth sleeps well`);

/** Family members, by pronoun. */
export const FAMILY: readonly (readonly [string, "she" | "he"])[] = [
  ["mother", "she"],
  ["father", "he"],
  ["grandmother", "she"],
  ["grandfather", "he"],
  ["aunt", "she"],
  ["uncle", "he"],
  ["sister", "she"],
  ["brother", "he"],
  ["cousin", "she"],
  ["neighbour", "he"],
];
