/** Draws pictures for a page. */
import { type Figures, figure } from "./elements.ts";
import type { Html } from "./html.ts";
import { type Picture, pictureMarkup } from "./picture.ts";

/** One after the other: the plotting library numbers what it draws. */
export async function figuresOf(pictures: readonly Picture[]): Promise<Figures> {
  const figures = new Map<string, Html>();
  for (const picture of pictures) figures.set(picture.id, figure(picture, await pictureMarkup(picture)));
  return figures;
}
