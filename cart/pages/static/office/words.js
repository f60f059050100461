/** How the layout's things and the differences between two layouts are called in the page's language. */
import { t } from "../common/i18n.js";
import { entryOf, parts } from "./editing.js";

/** @param {any} document @param {string} id */
export function thingName(document, id) {
  const { kind, key } = parts(id);
  const entry = entryOf(document, id);
  if (kind === "surface") return t("thing.numbered", { thing: t(`surface.${entry?.kind ?? "wall"}`), name: String(Number(key) + 1) });
  return t(`thing.${kind}`, { name: kind === "bin" || kind === "plate" ? String(entry?.[kind] ?? key) : key });
}

/** @param {import("./differences.js").Difference} difference */
export function told({ key, kind, name, values }) {
  const thing = t(`thing.${kind}`, { name });
  const rounded = Object.entries(values).map(([each, value]) => [each, typeof value === "number" && each !== "from" && each !== "to" ? Math.round(value * 100) / 100 : value]);
  return t(`change.${key}`, { thing, ...Object.fromEntries(rounded) });
}
