/** Boxes, cameras and outlines of a layout's document, as numbers: metres, degrees anticlockwise seen from above. */

/** @typedef {[number, number]} Point */
/** @typedef {{corner: number[], yaw: number, size: number[]}} Box Its lower front left corner, as somebody sees it who faces the shelf. */
/** @typedef {{at: number[], heading: number, tilt: number, width: number}} Pose Where a camera hangs and looks; `tilt` is downwards, `width` the angle that it sees. */

const RAD = Math.PI / 180;

/** Without what is left over by adding, to a micrometre; never -0. @param {number} value */
export function tidy(value) {
  return Math.round(value * 1e6) / 1e6 + 0;
}

/** An angle from above -180 to 180. @param {number} degrees */
export function around(degrees) {
  const rest = tidy(((degrees % 360) + 360) % 360);
  return rest > 180 ? tidy(rest - 360) : rest;
}

/** The nearest multiple; the value itself if the step is 0. @param {number} value @param {number} step */
export function snapped(value, step) {
  return step > 0 ? tidy(Math.round(value / step) * step) : tidy(value);
}

/** @param {ArrayLike<number>} point @param {number} degrees @param {ArrayLike<number>} [about] @returns {Point} */
export function rotated(point, degrees, about = [0, 0]) {
  const [x, y] = [point[0] - about[0], point[1] - about[1]];
  const [cos, sin] = [Math.cos(degrees * RAD), Math.sin(degrees * RAD)];
  return [tidy(about[0] + x * cos - y * sin), tidy(about[1] + x * sin + y * cos)];
}

/** The box of a bin or plate; null for one that is drawn in a picture. @param {any} entry @returns {Box | null} */
export function boxOf(entry) {
  if (entry.corner_m && entry.size_m) return { corner: entry.corner_m, yaw: entry.yaw_deg ?? 0, size: entry.size_m };
  if (!entry.min_m || !entry.max_m) return null;
  return { corner: entry.min_m, yaw: 0, size: entry.max_m.map((/** @type {number} */ high, /** @type {number} */ axis) => tidy(high - entry.min_m[axis])) };
}

/** The entry with another box, written as its own was where that can say it. @param {any} entry @param {Box} box */
export function withBox(entry, box) {
  const [corner, size, yaw] = [box.corner.map(tidy), box.size.map(tidy), around(box.yaw)];
  if (entry.min_m && yaw === 0) return { ...entry, min_m: corner, max_m: corner.map((low, axis) => tidy(low + size[axis])) };
  const { min_m: _low, max_m: _high, yaw_deg: turned, ...rest } = entry;
  return { ...rest, corner_m: corner, ...(yaw !== 0 || turned !== undefined ? { yaw_deg: yaw } : {}), size_m: size };
}

/** A box from above, in the order of its outline: front left, front right, back right, back left. @param {Box} box @returns {Point[]} */
export function footprint({ corner, yaw, size: [wide, deep] }) {
  return [[0, 0], [wide, 0], [wide, deep], [0, deep]].map(([x, y]) => rotated([corner[0] + x, corner[1] + y], yaw, corner));
}

/** The smallest box around others that is turned as the first is. @param {Box[]} boxes @returns {Box | null} */
export function boxAround(boxes) {
  if (!boxes.length) return null;
  const [{ yaw }] = boxes;
  const own = boxes.flatMap(footprint).map((each) => rotated(each, -yaw));
  const [low, high] = [Math.min, Math.max].map((most) => [0, 1].map((axis) => most(...own.map((each) => each[axis]))));
  const foot = Math.min(...boxes.map(({ corner }) => corner[2]));
  const top = Math.max(...boxes.map(({ corner, size }) => corner[2] + size[2]));
  return { corner: [...rotated(low, yaw), foot], yaw, size: [tidy(high[0] - low[0]), tidy(high[1] - low[1]), tidy(top - foot)] };
}

/** A box as it stands on the axes of another. @param {Box} box @param {Box} frame @returns {Box} */
export function within(box, frame) {
  const [x, y] = rotated([box.corner[0] - frame.corner[0], box.corner[1] - frame.corner[1]], -frame.yaw);
  return { corner: [x, y, tidy(box.corner[2] - frame.corner[2])], yaw: around(box.yaw - frame.yaw), size: box.size };
}

/** The middle of some points. @param {ArrayLike<number>[]} points @returns {Point} */
export function middle(points) {
  const [x, y] = [0, 1].map((axis) => points.reduce((sum, each) => sum + each[axis], 0) / points.length);
  return [x, y];
}

/** @param {Box} box @param {number} degrees @param {ArrayLike<number>} about @returns {Box} */
export function boxTurned(box, degrees, about) {
  return { ...box, corner: [...rotated(box.corner, degrees, about), box.corner[2]], yaw: around(box.yaw + degrees) };
}

/** Where a camera hangs and looks; null if it is not calibrated. @param {any} entry @returns {Pose | null} */
export function poseOf(entry) {
  const m = entry.world_from_cam;
  if (!m || !entry.intrinsics) return null;
  const [x, y, z] = [0, 1, 2].map((row) => m[row][2]);
  // One that looks straight down is headed where its picture has its upper edge.
  const [dx, dy] = Math.hypot(x, y) > 1e-3 ? [x, y] : [-m[0][1], -m[1][1]];
  return {
    at: [0, 1, 2].map((row) => m[row][3]),
    heading: around(Math.atan2(dy, dx) / RAD),
    tilt: tidy(Math.asin(Math.max(-1, Math.min(1, -z))) / RAD),
    width: (2 * Math.atan(entry.resolution_wh[0] / 2 / entry.intrinsics[0][0])) / RAD,
  };
}

/** @param {any} entry A calibrated camera. @param {ArrayLike<number>} by */
export function cameraMoved(entry, by) {
  return { ...entry, world_from_cam: entry.world_from_cam.map((/** @type {number[]} */ row, /** @type {number} */ axis) => (axis < 3 ? [...row.slice(0, 3), tidy(row[3] + by[axis])] : row)) };
}

/** @param {any} entry @param {number} degrees */
export function cameraTurned(entry, degrees) {
  const [first, second, ...rest] = entry.world_from_cam;
  const columns = [0, 1, 2].map((column) => turnedExactly(first[column], second[column], degrees));
  return { ...entry, world_from_cam: [[...columns.map(([x]) => x), first[3]], [...columns.map(([, y]) => y), second[3]], ...rest] };
}

/** Tilt it further down, about its picture's level axis. @param {any} entry @param {number} degrees */
export function cameraTilted(entry, degrees) {
  const [cos, sin] = [Math.cos(degrees * RAD), Math.sin(degrees * RAD)];
  const turned = entry.world_from_cam.slice(0, 3).map((/** @type {number[]} */ [x, y, z, at]) => [x, cos * y - sin * z, cos * z + sin * y, at]);
  return { ...entry, world_from_cam: [...turned, entry.world_from_cam[3]] };
}

/** A camera that hangs somewhere and looks along x, half way down, with a lens as many have. @param {ArrayLike<number>} at @param {number[]} wh */
export function cameraAt(at, wh) {
  const level = { resolution_wh: wh, intrinsics: [[0.6 * wh[0], 0, wh[0] / 2], [0, 0.6 * wh[0], wh[1] / 2], [0, 0, 1]], world_from_cam: [[0, 0, 1, at[0]], [-1, 0, 0, at[1]], [0, -1, 0, at[2]], [0, 0, 0, 1]] };
  return cameraTilted(level, 45);
}

/** Rotations are kept in full: what is rounded is no rotation any more. @param {number} x @param {number} y @param {number} degrees */
function turnedExactly(x, y, degrees) {
  const [cos, sin] = [Math.cos(degrees * RAD), Math.sin(degrees * RAD)];
  return [x * cos - y * sin, x * sin + y * cos];
}

/** The ends and heights of a pane that stands upright; null for another. @param {any} surface @returns {{ends: Point[], low: number, high: number} | null} */
export function paneOf(surface) {
  const [a, b, c, d] = surface.corners_m;
  const stands = a[0] === d[0] && a[1] === d[1] && b[0] === c[0] && b[1] === c[1] && a[2] === b[2] && c[2] === d[2];
  return stands ? { ends: [[a[0], a[1]], [b[0], b[1]]], low: a[2], high: c[2] } : null;
}

/** @param {any} surface @param {Point[]} ends @param {number} low @param {number} high */
export function withPane(surface, [a, b], low, high) {
  return { ...surface, corners_m: [[...a, low], [...b, low], [...b, high], [...a, high]] };
}
