/**
 * What can be done to a layout, as a document: pure functions that give a new document and leave the one they were given
 * as it was, and the history of a draft. Nothing here knows of the page.
 */
import {
  around, boxAround, boxOf, boxTurned, cameraAt, cameraMoved, cameraTilted, cameraTurned, footprint, middle, paneOf, poseOf,
  rotated, snapped, tidy, withBox, withPane, within,
} from "./geometry.js";

/** @typedef {import("./geometry.js").Point} Point */
/** @typedef {import("./geometry.js").Box} Box */
/** @typedef {{present: any, past: any[], future: any[], saved: any, last: string}} History */
/** @typedef {{id: string, kind: "floor" | "entrance" | "exit" | "gondola" | "bin" | "plate" | "camera" | "surface", name: string, parent: string}} Thing */
/** @typedef {{kind: "turn" | "size" | "point", index: number, at: Point}} Handle */
/** @typedef {{document: any, id: string}} Added */

const MOST_STEPS = 200;
const LEAST_M = 0.02;
const TURN_STEP = 5;
const HANDLE_M = 0.4;
const LOOK_M = 0.9;
/** Where the points of what has no entry of its own stand in a document. @type {Record<string, string>} */
const OUTLINES = { floor: "walkable_m", entrance: "entrance_m", exit: "exit_m" };
/** @type {Record<string, string>} */
const LISTS = { bin: "bins", plate: "plates", surface: "surfaces" };

// The history of a draft.

/** @param {any} document @returns {History} */
export function begun(document) {
  return { present: document, past: [], future: [], saved: document, last: "" };
}

/**
 * The history after a change. Changes with the same mark one after another, such as presses of one arrow, are one step.
 * @param {History} history @param {any} document @param {string} [mark] @returns {History}
 */
export function applied(history, document, mark = "") {
  if (same(document, history.present)) return history;
  const past = mark !== "" && mark === history.last ? history.past : [...history.past, history.present].slice(-MOST_STEPS);
  return { ...history, present: document, past, future: [], last: mark };
}

/** @param {History} history @returns {History} */
export function undone(history) {
  const before = history.past.at(-1);
  if (before === undefined) return history;
  return { ...history, present: before, past: history.past.slice(0, -1), future: [history.present, ...history.future], last: "" };
}

/** @param {History} history @returns {History} */
export function redone(history) {
  const [next, ...future] = history.future;
  if (next === undefined) return history;
  return { ...history, present: next, past: [...history.past, history.present], future, last: "" };
}

/** The history after a document was saved. @param {History} history @param {any} document @returns {History} */
export function kept(history, document) {
  return { ...history, saved: document, last: "" };
}

/** Whether there is something that is not saved. @param {History} history */
export function isChanged(history) {
  return !same(history.present, history.saved);
}

/** Whether two documents say the same, in whatever order. @param {any} a @param {any} b @returns {boolean} */
export function same(a, b) {
  if (a === b) return true;
  if (typeof a !== "object" || typeof b !== "object" || a === null || b === null || Array.isArray(a) !== Array.isArray(b)) return false;
  const keys = Object.keys(a);
  return keys.length === Object.keys(b).length && keys.every((key) => key in b && same(a[key], b[key]));
}

// What there is.

/** What was found in a document; nobody changes one. @type {WeakMap<any, Thing[]>} */
const found = new WeakMap();

/** All that can be selected, what belongs to a gondola behind it. @param {any} document @returns {Thing[]} */
export function thingsOf(document) {
  const known = found.get(document) ?? listed(document);
  found.set(document, known);
  return known;
}

/** @param {any} document @returns {Thing[]} */
function listed(document) {
  /** @type {Thing[]} */
  const things = [];
  for (const kind of /** @type {const} */ (["floor", "entrance", "exit"])) if (document[OUTLINES[kind]]) things.push({ id: kind, kind, name: "", parent: "" });
  const bins = binThings(document);
  const plates = entries(document, "plate").map((each, index) => thing("plate", index, each.plate, `gondola:${gondolaOfPlate(each)}`));
  const inside = Map.groupBy([...bins, ...plates], (each) => each.parent);
  for (const number of gondolasOf(document)) {
    const id = `gondola:${number}`;
    things.push({ id, kind: "gondola", name: String(number), parent: "" }, ...(inside.get(id) ?? []));
  }
  things.push(...bins.filter((each) => each.parent === ""));
  for (const name of Object.keys(document.cameras ?? {})) things.push({ id: `camera:${name}`, kind: "camera", name, parent: "" });
  things.push(...entries(document, "surface").map((each, index) => thing("surface", index, String(index + 1), "")));
  return things;
}

/** @param {any} document @returns {Thing[]} */
function binThings(document) {
  return entries(document, "bin").map((each, index) => thing("bin", index, each.bin, Number.isInteger(each.gondola) ? `gondola:${each.gondola}` : ""));
}

/** @param {"bin" | "plate" | "surface"} kind @param {number} index @param {string} name @param {string} parent @returns {Thing} */
function thing(kind, index, name, parent) {
  return { id: `${kind}:${index}`, kind, name: String(name), parent };
}

/** Which gondolas have bins or plates, in order. @param {any} document @returns {number[]} */
export function gondolasOf(document) {
  const numbers = [...entries(document, "bin").map((each) => each.gondola), ...entries(document, "plate").map(gondolaOfPlate)];
  return [...new Set(numbers.filter(Number.isInteger))].sort((a, b) => a - b);
}

/** @param {any} plate */
function gondolaOfPlate(plate) {
  return Number(String(plate.plate).split("/")[0]);
}

/** @param {any} document @param {string} kind @returns {any[]} */
function entries(document, kind) {
  return document[LISTS[kind]] ?? [];
}

/** What an id says: its kind, and its number, name or position. @param {string} id */
export function parts(id) {
  const at = id.indexOf(":");
  return at < 0 ? { kind: id, key: "" } : { kind: id.slice(0, at), key: id.slice(at + 1) };
}

/** The entry of a bin, plate, surface or camera. @param {any} document @param {string} id @returns {any} */
export function entryOf(document, id) {
  const { kind, key } = parts(id);
  return kind === "camera" ? document.cameras?.[key] : kind in LISTS ? entries(document, kind)[Number(key)] : undefined;
}

/** Whether there is such a thing. @param {any} document @param {string} id */
export function exists(document, id) {
  return thingsOf(document).some((each) => each.id === id);
}

/** Bins and plates of a gondola, by id. @param {any} document @param {number} number */
export function membersOf(document, number) {
  const own = (/** @type {"bin" | "plate"} */ kind, /** @type {(entry: any) => number} */ gondola) =>
    entries(document, kind).flatMap((each, index) => (gondola(each) === number ? [`${kind}:${index}`] : []));
  return [...own("bin", (each) => each.gondola), ...own("plate", gondolaOfPlate)];
}

/** The box that a thing fills, of a gondola around all that it has; null for what is no box. @param {any} document @param {string} id @returns {Box | null} */
export function extentOf(document, id) {
  const { kind, key } = parts(id);
  if (kind === "gondola") {
    const boxes = membersOf(document, Number(key)).map((each) => boxOf(entryOf(document, each)));
    return boxAround(boxes.filter((each) => each !== null));
  }
  return kind === "bin" || kind === "plate" ? boxOf(entryOf(document, id)) : null;
}

/** The points that an outline, line or upright pane is made of; null for other things. @param {any} document @param {string} id @returns {Point[] | null} */
export function pointsOf(document, id) {
  const { kind } = parts(id);
  if (kind in OUTLINES) return document[OUTLINES[kind]] ?? null;
  return kind === "surface" ? (paneOf(entryOf(document, id))?.ends ?? null) : null;
}

/** The point that snaps to the grid when a thing is moved, and that its fields tell. @param {any} document @param {string} id @returns {number[] | null} */
export function placeOf(document, id) {
  const box = extentOf(document, id);
  if (box) return box.corner;
  const { kind } = parts(id);
  if (kind === "camera") return poseOf(entryOf(document, id))?.at ?? null;
  if (kind === "surface") return entryOf(document, id).corners_m[0];
  return pointsOf(document, id)?.[0] ?? null;
}

/** The thing that a place of the store's objections lies in; "" for none. @param {any} document @param {(string | number)[]} place */
export function thingAt(document, [list, key]) {
  const outline = Object.keys(OUTLINES).find((each) => OUTLINES[each] === list);
  const kind = Object.keys(LISTS).find((each) => LISTS[each] === list);
  const id = outline ?? (list === "cameras" && key !== undefined ? `camera:${key}` : kind && key !== undefined ? `${kind}:${key}` : "");
  return exists(document, id) ? id : "";
}

// Changes.

/** @param {any} document @param {string} id @param {(entry: any) => any} change */
function changed(document, id, change) {
  const { kind, key } = parts(id);
  if (kind === "camera") return { ...document, cameras: { ...document.cameras, [key]: change(document.cameras[key]) } };
  const list = LISTS[kind];
  return { ...document, [list]: document[list].map((/** @type {any} */ each, /** @type {number} */ index) => (index === Number(key) ? change(each) : each)) };
}

/** Change the box of a thing, or the boxes of all that a gondola has. @param {any} document @param {string} id @param {(box: Box) => Box} change @returns {any} */
function reboxed(document, id, change) {
  const { kind, key } = parts(id);
  const other = (/** @type {any} */ entry) => {
    const box = boxOf(entry);
    return box ? withBox(entry, change(box)) : entry;
  };
  if (kind !== "gondola") return changed(document, id, other);
  const number = Number(key);
  const next = { ...document };
  if (document.bins) next.bins = document.bins.map((/** @type {any} */ each) => (each.gondola === number ? other(each) : each));
  if (document.plates) next.plates = document.plates.map((/** @type {any} */ each) => (gondolaOfPlate(each) === number ? other(each) : each));
  return next;
}

/** @param {any} document @param {string} id @param {Point[]} points */
export function withPoints(document, id, points) {
  const { kind } = parts(id);
  const tidied = points.map(([x, y]) => /** @type {Point} */ ([tidy(x), tidy(y)]));
  if (kind in OUTLINES) return { ...document, [OUTLINES[kind]]: tidied };
  return changed(document, id, (entry) => {
    const pane = paneOf(entry);
    return pane ? withPane(entry, tidied, pane.low, pane.high) : entry;
  });
}

/** Move a thing. @param {any} document @param {string} id @param {number[]} by Metres along x, y and, where it has a height, z. */
export function moved(document, id, [dx, dy, dz = 0]) {
  const { kind } = parts(id);
  if (kind in OUTLINES) return withPoints(document, id, document[OUTLINES[kind]].map((/** @type {Point} */ [x, y]) => [x + dx, y + dy]));
  if (kind === "camera") return changed(document, id, (entry) => (poseOf(entry) ? cameraMoved(entry, [dx, dy, dz]) : entry));
  if (kind === "surface") return changed(document, id, (entry) => ({ ...entry, corners_m: entry.corners_m.map((/** @type {number[]} */ [x, y, z]) => [tidy(x + dx), tidy(y + dy), tidy(z + dz)]) }));
  return reboxed(document, id, (box) => ({ ...box, corner: [box.corner[0] + dx, box.corner[1] + dy, box.corner[2] + dz] }));
}

/** Move a thing so that its own point comes to lie on the grid. @param {any} document @param {string} id @param {number[]} by @param {number} grid 0 for none. */
export function movedOnGrid(document, id, by, grid) {
  const place = placeOf(document, id);
  if (!place) return document;
  return moved(document, id, [0, 1].map((axis) => snapped(place[axis] + by[axis], grid) - place[axis]));
}

/** Turn a thing. @param {any} document @param {string} id @param {number} degrees @param {ArrayLike<number>} [about] Its middle if not said. @returns {any} */
export function turned(document, id, degrees, about) {
  const { kind } = parts(id);
  if (kind === "camera") return changed(document, id, (entry) => (poseOf(entry) ? cameraTurned(entry, degrees) : entry));
  const points = pointsOf(document, id);
  if (points) {
    const centre = about ?? middle(points);
    return withPoints(document, id, points.map((each) => rotated(each, degrees, centre)));
  }
  const extent = extentOf(document, id);
  if (!extent) return document;
  const centre = about ?? middle(footprint(extent));
  return reboxed(document, id, (box) => boxTurned(box, degrees, centre));
}

/** Give a bin, plate or gondola other lengths; what a gondola has is stretched with it. @param {any} document @param {string} id @param {number[]} size */
export function sized(document, id, size) {
  const extent = extentOf(document, id);
  if (!extent) return document;
  const wanted = extent.size.map((own, axis) => Math.max(LEAST_M, size[axis] ?? own));
  if (parts(id).kind !== "gondola") return reboxed(document, id, (box) => ({ ...box, size: wanted }));
  const stretch = wanted.map((each, axis) => each / extent.size[axis]);
  return reboxed(document, id, (box) => {
    const own = within(box, extent);
    const [x, y] = rotated([own.corner[0] * stretch[0], own.corner[1] * stretch[1]], extent.yaw);
    const across = Math.abs(Math.round(own.yaw / 90)) % 2 === 1;
    const [wide, deep] = across ? [stretch[1], stretch[0]] : stretch;
    return {
      corner: [extent.corner[0] + x, extent.corner[1] + y, extent.corner[2] + own.corner[2] * stretch[2]],
      yaw: box.yaw,
      size: [box.size[0] * wide, box.size[1] * deep, box.size[2] * stretch[2]],
    };
  });
}

/** Put one number of a thing to what a field says: `x`, `y`, `z`, `yaw`, `tilt`, `width`, `depth` or `height`. @param {any} document @param {string} id @param {string} key @param {number} value @returns {any} */
export function numbered(document, id, key, value) {
  const place = placeOf(document, id);
  const axis = ["x", "y", "z"].indexOf(key);
  if (axis >= 0) return place ? moved(document, id, [0, 1, 2].map((each) => (each === axis ? value - place[each] : 0))) : document;
  const pose = parts(id).kind === "camera" ? poseOf(entryOf(document, id)) : null;
  if (pose && key === "yaw") return turned(document, id, value - pose.heading);
  if (pose && key === "tilt") return changed(document, id, (entry) => cameraTilted(entry, value - pose.tilt));
  const extent = extentOf(document, id);
  if (!extent) return document;
  if (key === "yaw") return turned(document, id, value - extent.yaw, extent.corner);
  return sized(document, id, ["width", "depth", "height"].map((each, index) => (each === key ? value : extent.size[index])));
}

/** Put a field of an entry, or take it away. @param {any} document @param {string} id @param {string} key @param {any} value Undefined to take it away. */
export function withField(document, id, key, value) {
  return changed(document, id, (entry) => {
    const { [key]: _before, ...rest } = entry;
    return value === undefined ? rest : key in entry ? { ...entry, [key]: value } : { ...rest, [key]: value };
  });
}

/** @param {any} document @param {string} from @param {string} to @returns {any} */
export function cameraRenamed(document, from, to) {
  if (!to || to === from || document.cameras[to]) return document;
  const cameras = Object.fromEntries(Object.entries(document.cameras).map(([name, entry]) => [name === from ? to : name, entry]));
  const bins = document.bins?.map((/** @type {any} */ each) => (each.camera === from ? { ...each, camera: to } : each));
  return { ...document, cameras, ...(bins ? { bins } : {}) };
}

/** @param {any} document @param {string} name @param {any} entry A camera as it was calibrated; zones drawn in its picture stay. */
export function withCamera(document, name, entry) {
  return { ...document, cameras: { ...document.cameras, [name]: { ...document.cameras?.[name], ...entry } } };
}

/**
 * Put a product into a bin, or none; one that the layout does not know yet becomes known to it.
 * @param {any} document @param {string} id @param {any} product As the store's catalogue tells it; null for none.
 */
export function withProduct(document, id, product) {
  const next = withField(document, id, "sku", product?.sku);
  if (!product || next.products?.some((/** @type {any} */ each) => each.sku === product.sku)) return next;
  const { sku, name, mass_g, unit_price_minor, currency } = product;
  const known = { sku, name, ...(mass_g === null ? {} : { mass_g }), ...(unit_price_minor === null ? {} : { unit_price_minor }), currency };
  return { ...next, products: [...(next.products ?? []), known] };
}

// Adding and taking away.

/** A gondola of two shelves with four bins each, its front in the middle of a place. @param {any} document @param {Point} at @returns {Added} */
export function gondolaAdded(document, at) {
  const number = Math.max(0, ...gondolasOf(document)) + 1;
  const bins = [1, 2].flatMap((shelf) => [0, 1, 2, 3].map((place) => ({
    bin: freeName(document, `${number}/${shelf}/${place + 1}`), gondola: number, shelf,
    corner_m: [tidy(at[0] - 0.8 + 0.4 * place), tidy(at[1]), shelf === 1 ? 0.85 : 1.3], size_m: [0.4, 0.45, 0.4],
  })));
  return { document: { ...document, bins: [...(document.bins ?? []), ...bins] }, id: `gondola:${number}` };
}

/** A bin at the right end of a shelf, as wide as its neighbour. @param {any} document @param {number} gondola @param {number} shelf @returns {Added} */
export function binAdded(document, gondola, shelf) {
  const row = shelfOf(document, gondola, shelf);
  const [last] = row.toSorted((a, b) => b.own.corner[0] - a.own.corner[0]);
  if (!last) return { document, id: `gondola:${gondola}` };
  const box = { ...last.box, corner: [...rotated([last.box.corner[0] + last.box.size[0], last.box.corner[1]], last.box.yaw, last.box.corner), last.box.corner[2]] };
  return withBins(document, [{ bin: freeName(document, `${gondola}/${shelf}/${row.length + 1}`), gondola, shelf, ...inForm(last.entry, box) }]);
}

/** A shelf above all others of a gondola, with bins as the highest has. @param {any} document @param {number} gondola @returns {Added} */
export function shelfAdded(document, gondola) {
  const top = Math.max(...shelvesOf(document, gondola));
  const row = shelfOf(document, gondola, top);
  if (!row.length) return { document, id: `gondola:${gondola}` };
  const bins = row.map(({ entry, box }, place) => ({
    bin: freeName(document, `${gondola}/${top + 1}/${place + 1}`), gondola, shelf: top + 1,
    ...inForm(entry, { ...box, corner: [box.corner[0], box.corner[1], box.corner[2] + box.size[2] + 0.05] }),
  }));
  return withBins(document, bins);
}

/** The numbers of a gondola's shelves, in order. @param {any} document @param {number} gondola @returns {number[]} */
export function shelvesOf(document, gondola) {
  const own = entries(document, "bin").filter((each) => each.gondola === gondola && Number.isInteger(each.shelf));
  return [...new Set(own.map((each) => each.shelf))].sort((a, b) => a - b);
}

/** @param {any} document @param {number} gondola @param {number} shelf */
function shelfOf(document, gondola, shelf) {
  const frame = extentOf(document, `gondola:${gondola}`);
  return entries(document, "bin").flatMap((entry) => {
    const box = entry.gondola === gondola && entry.shelf === shelf ? boxOf(entry) : null;
    return box && frame ? [{ entry, box, own: within(box, frame) }] : [];
  });
}

/** A box as an entry of that form writes it. @param {any} entry @param {Box} box */
function inForm({ corner_m, size_m, yaw_deg, min_m, max_m }, box) {
  const form = Object.entries({ corner_m, size_m, yaw_deg, min_m, max_m }).filter(([, value]) => value !== undefined);
  return withBox(Object.fromEntries(form), box);
}

/** @param {any} document @param {any[]} bins @returns {Added} */
function withBins(document, bins) {
  const before = document.bins ?? [];
  return { document: { ...document, bins: [...before, ...bins] }, id: `bin:${before.length}` };
}

/** A name that no bin has yet. @param {any} document @param {string} wanted */
function freeName(document, wanted) {
  const taken = new Set(entries(document, "bin").map((each) => each.bin));
  let name = wanted;
  for (let number = 2; taken.has(name); number++) name = `${wanted}-${number}`;
  return name;
}

/** @param {any} document @param {string} name @param {Point} at @param {number[]} wh Size of its pictures, pixels. @returns {Added} */
export function cameraAdded(document, name, at, wh) {
  return { document: withCamera(document, name, cameraAt([...at.map(tidy), 2.6], wh)), id: `camera:${name}` };
}

/** A wall, two metres long. @param {any} document @param {Point} at @returns {Added} */
export function surfaceAdded(document, at) {
  const [left, right] = [-1, 1].map((side) => /** @type {Point} */ ([tidy(at[0] + side), tidy(at[1])]));
  const before = document.surfaces ?? [];
  return { document: { ...document, surfaces: [...before, withPane({ kind: "wall" }, [left, right], 0, 2.6)] }, id: `surface:${before.length}` };
}

/** A floor, an entrance or an exit, where there is none. @param {any} document @param {"floor" | "entrance" | "exit"} kind @param {Point} at @returns {Added} */
export function zoneAdded(document, kind, at) {
  const ends = kind === "floor" ? [[-3, -2], [3, -2], [3, 2], [-3, 2]] : [[-0.6, 0], [0.6, 0]];
  return { document: { ...document, [OUTLINES[kind]]: ends.map(([x, y]) => [tidy(at[0] + x), tidy(at[1] + y)]) }, id: kind };
}

/** Take a thing away, with all that a gondola has. @param {any} document @param {string} id @returns {any} */
export function removed(document, id) {
  const { kind, key } = parts(id);
  if (kind in OUTLINES) {
    const { [OUTLINES[kind]]: _gone, ...rest } = document;
    return rest;
  }
  if (kind === "camera") {
    const { [key]: _gone, ...cameras } = document.cameras;
    return { ...document, cameras };
  }
  if (kind === "gondola") {
    const number = Number(key);
    const bins = entries(document, "bin").filter((each) => each.gondola !== number);
    return withoutPlates({ ...document, bins }, (each) => gondolaOfPlate(each) === number);
  }
  const gone = entryOf(document, id);
  if (kind === "plate") return withoutPlates(document, (each) => each === gone);
  return { ...document, [LISTS[kind]]: entries(document, kind).filter((each) => each !== gone) };
}

/** @param {any} document @param {(plate: any) => boolean} isGone */
function withoutPlates(document, isGone) {
  if (!document.plates?.some(isGone)) return document;
  const names = new Set(document.plates.filter(isGone).map((/** @type {any} */ each) => each.plate));
  const bins = entries(document, "bin").map((each) => {
    if (!each.plates?.some((/** @type {string} */ name) => names.has(name))) return each;
    const { plates, ...rest } = each;
    const left = plates.filter((/** @type {string} */ name) => !names.has(name));
    return left.length ? { ...rest, plates: left } : rest;
  });
  return { ...document, bins, plates: document.plates.filter((/** @type {any} */ each) => !isGone(each)) };
}

// Handles.

/** What a selected thing can be held by, besides itself. @param {any} document @param {string} id @returns {Handle[]} */
export function handlesOf(document, id) {
  const points = pointsOf(document, id);
  if (points) return points.map((at, index) => ({ kind: "point", index, at }));
  if (parts(id).kind === "camera") {
    const pose = poseOf(entryOf(document, id));
    return pose ? [{ kind: "turn", index: 0, at: rotated([pose.at[0] + LOOK_M, pose.at[1]], pose.heading, pose.at) }] : [];
  }
  const extent = extentOf(document, id);
  if (!extent) return [];
  const [left, right, back] = footprint(extent);
  const front = middle([left, right]);
  return [{ kind: "size", index: 0, at: back }, { kind: "turn", index: 0, at: rotated([front[0], front[1] - HANDLE_M], extent.yaw, front) }];
}

/** The document after a handle was drawn somewhere. @param {any} document @param {string} id @param {Handle} handle @param {Point} to @param {number} grid Metres, 0 for none. */
export function drawnTo(document, id, handle, to, grid) {
  if (handle.kind === "point") {
    const points = /** @type {Point[]} */ (pointsOf(document, id));
    return withPoints(document, id, points.map((each, index) => (index === handle.index ? [snapped(to[0], grid), snapped(to[1], grid)] : each)));
  }
  const extent = extentOf(document, id);
  const step = grid > 0 ? TURN_STEP : 0;
  if (!extent) {
    const pose = poseOf(entryOf(document, id));
    return pose ? numbered(document, id, "yaw", snapped(angleOf(pose.at, to), step)) : document;
  }
  if (handle.kind === "turn") return turned(document, id, around(snapped(angleOf(middle(footprint(extent)), to) + 90, step) - extent.yaw));
  const [wide, deep] = rotated([to[0] - extent.corner[0], to[1] - extent.corner[1]], -extent.yaw);
  return sized(document, id, [snapped(wide, grid), snapped(deep, grid)]);
}

/** @param {ArrayLike<number>} from @param {ArrayLike<number>} to */
function angleOf(from, to) {
  return (Math.atan2(to[1] - from[1], to[0] - from[0]) * 180) / Math.PI;
}

/** Points of the plan that are seen in pictures too: corners of the floor, of walls, doors and shelves. @param {any} document @returns {Point[]} */
export function cornersOf(document) {
  const outlines = thingsOf(document).flatMap(({ id }) => pointsOf(document, id) ?? []);
  const boxes = entries(document, "bin").flatMap((each) => {
    const box = boxOf(each);
    return box ? footprint(box) : [];
  });
  return [...new Map([...outlines, ...boxes].map((each) => [each.map((value) => value.toFixed(3)).join(), each])).values()];
}
