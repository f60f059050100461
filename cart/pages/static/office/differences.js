/** What is different between two layouts, so that it can be told in words. Nothing here knows of the page. */
import { entryOf, gondolasOf, membersOf, same } from "./editing.js";
import { around, boxOf, poseOf, rotated } from "./geometry.js";

/** @typedef {import("./geometry.js").Box} Box */
/** @typedef {(box: Box) => Box} Carry */

/**
 * One difference: what has happened, to what, and what is told with it.
 * @typedef {{key: "added" | "removed" | "moved" | "turned" | "sized" | "product" | "capacity" | "lens" | "changed" | "renamed",
 *   kind: string, name: string, values: Record<string, string | number>}} Difference
 */

const NEAR = 1e-4;
const MOST_TRIED = 20;
const OUTLINES = /** @type {const} */ ([["floor", "walkable_m"], ["entrance", "entrance_m"], ["exit", "exit_m"]]);
const TOLD = new Set(["format", "name", "bins", "plates", "cameras", "surfaces", "products", "walkable_m", "entrance_m", "exit_m"]);

/** @param {any} before @param {any} after @returns {Difference[]} */
export function differences(before, after) {
  /** @type {Difference[]} */
  const found = [];
  const tell = (/** @type {Difference["key"]} */ key, /** @type {string} */ kind, /** @type {string} */ name = "", values = {}) => void found.push({ key, kind, name, values });
  if (before.name !== after.name) tell("renamed", "store", after.name, { from: before.name });
  const carried = gondolas(before, after, tell);
  boxes(before, after, "bins", "bin", carried, tell);
  boxes(before, after, "plates", "plate", carried, tell);
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
 * Tell of gondolas that came, went, or were moved with most of what they have.
 * @param {any} before @param {any} after @param {Tell} tell @returns {Map<number, Carry | null>} Where a box of each would be
 *   if it had only gone along; null for a gondola that is there in one of the two alone.
 */
function gondolas(before, after, tell) {
  /** @type {Map<number, Carry | null>} */
  const carried = new Map();
  const [had, has] = [gondolasOf(before), gondolasOf(after)];
  for (const number of new Set([...had, ...has])) {
    if (!has.includes(number) || !had.includes(number)) {
      tell(has.includes(number) ? "added" : "removed", "gondola", String(number));
      carried.set(number, null);
      continue;
    }
    const way = wayOf(boxesOn(before, number), boxesOn(after, number));
    if (!way) continue;
    carried.set(number, way.carry);
    if (Math.abs(way.angle) > NEAR) tell("turned", "gondola", String(number), { angle: way.angle });
    else if (way.far > NEAR) tell("moved", "gondola", String(number), { far: way.far });
  }
  return carried;
}

/** @param {any} document @param {number} number @returns {Map<string, Box>} */
function boxesOn(document, number) {
  return new Map(membersOf(document, number).flatMap((id) => {
    const entry = entryOf(document, id);
    const box = boxOf(entry);
    return box ? [[entry.bin === undefined ? `plate ${entry.plate}` : `bin ${entry.bin}`, box]] : [];
  }));
}

/** The way that more than half of some boxes went together; undefined if there is none. @param {Map<string, Box>} had @param {Map<string, Box>} has */
function wayOf(had, has) {
  const pairs = [...had].flatMap(([name, from]) => {
    const to = has.get(name);
    return to ? [{ from, to }] : [];
  });
  for (const { from, to } of pairs.slice(0, MOST_TRIED)) {
    const angle = around(to.yaw - from.yaw);
    const carry = (/** @type {Box} */ box) => {
      const [x, y] = rotated([box.corner[0] - from.corner[0], box.corner[1] - from.corner[1]], angle);
      return { corner: [to.corner[0] + x, to.corner[1] + y, box.corner[2] + to.corner[2] - from.corner[2]], yaw: around(box.yaw + angle), size: box.size };
    };
    const along = pairs.filter((each) => distance(carry(each.from).corner, each.to.corner) < NEAR && Math.abs(around(each.to.yaw - each.from.yaw - angle)) < NEAR);
    if (2 * along.length > pairs.length) return { angle, far: distance(from.corner, to.corner), carry };
  }
  return undefined;
}

/**
 * @param {any} before @param {any} after @param {"bins" | "plates"} list @param {"bin" | "plate"} key
 * @param {Map<number, Carry | null>} carried @param {Tell} tell
 */
function boxes(before, after, list, key, carried, tell) {
  const [had, has] = [before, after].map((each) => new Map((each[list] ?? []).map((/** @type {any} */ entry) => [entry[key], entry])));
  const names = productNames(before, after);
  for (const name of new Set([...had.keys(), ...has.keys()])) {
    const [from, to] = [had.get(name), has.get(name)];
    const carry = carried.get(key === "bin" ? (to ?? from).gondola : Number(name.split("/")[0]));
    if (!from || !to) {
      if (carry !== null) tell(to ? "added" : "removed", key, name);
      continue;
    }
    if (from.sku !== to.sku) tell("product", key, name, { from: names(from.sku), to: names(to.sku) });
    if (from.capacity !== to.capacity) tell("capacity", key, name, { from: from.capacity ?? "–", to: to.capacity ?? "–" });
    const box = boxOf(from);
    placed(key, name, box && carry ? carry(box) : box, boxOf(to), tell);
    if (!same(rest(from), rest(to))) tell("changed", key, name);
  }
}

/** What an entry says besides what is told by itself. @param {any} entry */
function rest({ sku, capacity, corner_m, size_m, yaw_deg, min_m, max_m, ...other }) {
  return other;
}

/** @param {string} kind @param {string} name @param {Box | null} from @param {Box | null} to @param {Tell} tell */
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
