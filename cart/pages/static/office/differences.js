/** What is different between two layouts, so that it can be told in words. Nothing here knows of the page. */
import { gondolasOf, extentOf, membersOf, entryOf, same } from "./editing.js";
import { around, boxOf, poseOf, within } from "./geometry.js";

/**
 * One difference: what has happened, to what, and what is told with it.
 * @typedef {{key: "added" | "removed" | "moved" | "turned" | "sized" | "product" | "capacity" | "lens" | "changed" | "renamed",
 *   kind: string, name: string, values: Record<string, string | number>}} Difference
 */

const NEAR = 1e-5;
const OUTLINES = /** @type {const} */ ([["floor", "walkable_m"], ["entrance", "entrance_m"], ["exit", "exit_m"]]);
const TOLD = new Set(["format", "name", "bins", "plates", "cameras", "surfaces", "products", "walkable_m", "entrance_m", "exit_m"]);

/** @param {any} before @param {any} after @returns {Difference[]} */
export function differences(before, after) {
  /** @type {Difference[]} */
  const found = [];
  const tell = (/** @type {Difference["key"]} */ key, /** @type {string} */ kind, /** @type {string} */ name = "", values = {}) => void found.push({ key, kind, name, values });
  if (before.name !== after.name) tell("renamed", "store", after.name, { from: before.name });
  const wholes = gondolas(before, after, tell);
  boxes(before, after, "bins", "bin", wholes, tell);
  boxes(before, after, "plates", "plate", wholes, tell);
  cameras(before.cameras ?? {}, after.cameras ?? {}, tell);
  for (const [kind, key] of OUTLINES) whole(kind, "", before[key], after[key], tell);
  surfaces(before.surfaces ?? [], after.surfaces ?? [], tell);
  const [known, now] = [before, after].map((each) => new Map((each.products ?? []).map((/** @type {any} */ product) => [product.sku, product])));
  for (const sku of new Set([...known.keys(), ...now.keys()])) whole("product", (now.get(sku) ?? known.get(sku)).name, known.get(sku), now.get(sku), tell);
  for (const key of new Set([...Object.keys(before), ...Object.keys(after)])) if (!TOLD.has(key)) whole("part", key, before[key], after[key], tell);
  return found;
}

/** @typedef {(key: Difference["key"], kind: string, name?: string, values?: Record<string, string | number>) => void} Tell */

/** @param {string} kind @param {string} name @param {any} before @param {any} after @param {Tell} tell */
function whole(kind, name, before, after, tell) {
  if (same(before, after)) return;
  tell(before === undefined ? "added" : after === undefined ? "removed" : "changed", kind, name);
}

/**
 * Tell of gondolas that came, went or were moved as they are.
 * @param {any} before @param {any} after @param {Tell} tell @returns {Set<number>} Whose bins and plates need no words about where they are.
 */
function gondolas(before, after, tell) {
  /** @type {Set<number>} */
  const wholes = new Set();
  const [had, has] = [gondolasOf(before), gondolasOf(after)];
  for (const number of new Set([...had, ...has])) {
    const [from, to] = [before, after].map((each) => extentOf(each, `gondola:${number}`));
    const name = String(number);
    if (!has.includes(number) || !had.includes(number)) tell(has.includes(number) ? "added" : "removed", "gondola", name);
    else if (!from || !to || !same(arrangement(before, number, from), arrangement(after, number, to))) continue;
    else {
      const far = distance(from.corner, to.corner);
      const angle = around(to.yaw - from.yaw);
      if (Math.abs(angle) > NEAR) tell("turned", "gondola", name, { angle });
      else if (far > NEAR) tell("moved", "gondola", name, { far });
    }
    wholes.add(number);
  }
  return wholes;
}

/** How the bins and plates of a gondola stand on it, to a tenth of a millimetre. @param {any} document @param {number} number @param {import("./geometry.js").Box} frame */
function arrangement(document, number, frame) {
  const round = (/** @type {number} */ value) => Math.round(value * 1e4);
  return Object.fromEntries(membersOf(document, number).map((id) => {
    const entry = entryOf(document, id);
    const box = boxOf(entry);
    const own = box && within(box, frame);
    return [`${entry.bin ?? ""} ${entry.plate ?? ""}`, own && [own.corner.map(round), round(own.yaw), own.size.map(round)]];
  }));
}

/**
 * @param {any} before @param {any} after @param {"bins" | "plates"} list @param {"bin" | "plate"} key
 * @param {Set<number>} wholes @param {Tell} tell
 */
function boxes(before, after, list, key, wholes, tell) {
  const [had, has] = [before, after].map((each) => new Map((each[list] ?? []).map((/** @type {any} */ entry) => [entry[key], entry])));
  const names = productNames(before, after);
  for (const name of new Set([...had.keys(), ...has.keys()])) {
    const [from, to] = [had.get(name), has.get(name)];
    const isWhole = wholes.has(key === "bin" ? (to ?? from).gondola : Number(name.split("/")[0]));
    if (!from || !to) {
      if (!isWhole) tell(to ? "added" : "removed", key, name);
      continue;
    }
    if (from.sku !== to.sku) tell("product", key, name, { from: names(from.sku), to: names(to.sku) });
    if (from.capacity !== to.capacity) tell("capacity", key, name, { from: from.capacity ?? "–", to: to.capacity ?? "–" });
    if (!isWhole) placed(key, name, boxOf(from), boxOf(to), tell);
    if (!same(rest(from), rest(to))) tell("changed", key, name);
  }
}

/** What an entry says besides what is told by itself. @param {any} entry */
function rest({ sku, capacity, corner_m, size_m, yaw_deg, min_m, max_m, ...other }) {
  return other;
}

/** @param {string} kind @param {string} name @param {import("./geometry.js").Box | null} from @param {import("./geometry.js").Box | null} to @param {Tell} tell */
function placed(kind, name, from, to, tell) {
  if (!from || !to) return from === to ? undefined : tell("changed", kind, name);
  const far = distance(from.corner, to.corner);
  if (far > NEAR) tell("moved", kind, name, { far });
  const angle = around(to.yaw - from.yaw);
  if (Math.abs(angle) > NEAR) tell("turned", kind, name, { angle });
  if (distance(from.size, to.size) > NEAR) tell("sized", kind, name);
}

/** @param {Record<string, any>} before @param {Record<string, any>} after @param {Tell} tell */
function cameras(before, after, tell) {
  for (const name of new Set([...Object.keys(before), ...Object.keys(after)])) {
    const [from, to] = [before[name], after[name]];
    if (!from || !to) {
      tell(to ? "added" : "removed", "camera", name);
      continue;
    }
    const [had, has] = [poseOf(from), poseOf(to)];
    if (had && has && !same(from.world_from_cam, to.world_from_cam)) {
      const far = distance(had.at, has.at);
      const angle = angleBetween(from.world_from_cam, to.world_from_cam);
      if (far > NEAR) tell("moved", "camera", name, { far });
      if (angle > 1e-3) tell("turned", "camera", name, { angle });
    } else if (Boolean(had) !== Boolean(has)) tell("changed", "camera", name);
    const { world_from_cam: _was, intrinsics: lens, distortion: bend, ...own } = from;
    const { world_from_cam: _is, intrinsics, distortion, ...now } = to;
    if (had && has && !(same(lens, intrinsics) && same(bend, distortion))) tell("lens", "camera", name);
    if (!same(own, now)) tell("changed", "camera", name);
  }
}

/** @param {any[]} before @param {any[]} after @param {Tell} tell */
function surfaces(before, after, tell) {
  if (before.length === after.length) before.forEach((each, index) => whole("surface", String(index + 1), each, after[index], tell));
  else {
    before.forEach((each, index) => after.some((other) => same(each, other)) || tell("removed", "surface", String(index + 1)));
    after.forEach((each, index) => before.some((other) => same(each, other)) || tell("added", "surface", String(index + 1)));
  }
}

/** @param {any} before @param {any} after @returns {(sku: string | undefined) => string} */
function productNames(before, after) {
  const known = new Map([...(before.products ?? []), ...(after.products ?? [])].map((each) => [each.sku, each.name]));
  return (sku) => (sku === undefined || sku === null ? "–" : (known.get(sku) ?? sku));
}

/** @param {number[]} a @param {number[]} b */
function distance(a, b) {
  return Math.hypot(...a.map((value, axis) => value - b[axis]));
}

/** Degrees between two cameras' ways of standing. @param {number[][]} a @param {number[][]} b */
function angleBetween(a, b) {
  let trace = 0;
  for (let row = 0; row < 3; row++) for (let column = 0; column < 3; column++) trace += a[row][column] * b[row][column];
  return (Math.acos(Math.max(-1, Math.min(1, (trace - 1) / 2))) * 180) / Math.PI;
}
