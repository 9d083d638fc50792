/**
 * The names that programs in the demo language are made of.
 *
 * It holds words only. The grammar of the language is in code.ts.
 */
import { words } from "./prng.ts";

/** Things that a list can hold, in the singular. */
export const NOUNS: readonly string[] = words(`
  item user node order ticket sample pixel packet branch account record token signal
  sensor player card tile frame window buffer queue route file folder event task job
  price score weight module driver camera filter layer matrix vector kernel session
  channel message header cookie bucket cursor region segment vertex edge socket worker
  plugin widget label patch stream batch cluster device engine gadget invoice`);

/** Numeric fields of things. */
export const FIELDS: readonly string[] = words(`
  size count width height depth age cost rate speed total rank level offset length
  limit area volume delay duration priority distance angle energy balance version`);

/** Names of numeric local variables. */
export const NUMBERS: readonly string[] = words(`
  total sum best worst bound step index left right start stop delta scale factor
  carry margin budget quota shift base power ratio span mark high low`);

/** Names of parameters that hold a limit. */
export const LIMITS: readonly string[] = words(`
  limit maximum minimum threshold target ceiling floor quota cutoff tolerance`);

/** Words for a thing that passes a test. */
export const MARKS: readonly string[] = words(`
  valid stale active hidden locked empty ready broken visible pending remote local
  expired cached dirty frozen public private`);

/** Names of modules that a program can use. */
export const MODULES: readonly string[] = words(`
  math text lists clock files net random graph table color audio shape crypt json log`);

/** Messages that programs print. */
export const MESSAGES: readonly string[] = words(`
  done started stopped failed skipped updated removed added ready missing unknown
  finished waiting found ignored`);
