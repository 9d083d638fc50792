/** Draws the figures of a page. */
import { type Figures, figure } from "./elements.ts";
import type { Html } from "./html.ts";
import { type Picture, pictureMarkup } from "./picture.ts";

/** Draws pictures one after another, since the plotting library numbers the elements that it draws. */
export async function figuresOf(pictures: readonly Picture[]): Promise<Figures> {
  const figures = new Map<string, Html>();
  for (const picture of pictures) figures.set(picture.id, figure(picture, await pictureMarkup(picture)));
  return figures;
}
