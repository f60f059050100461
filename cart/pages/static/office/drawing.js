/** The layout drawn from above with Konva: it shows a document, and tells what somebody does to it with a pointer. */
import Konva from "konva";
import { html } from "lit";
import { t } from "../common/i18n.js";
import { cornersOf, drawnTo, entryOf, extentOf, gondolasOf, handlesOf, movedOnGrid, parts, pointsOf, thingsOf } from "./editing.js";
import { boxOf, footprint, middle, paneOf, poseOf, snapped } from "./geometry.js";
import { thingName } from "./words.js";

/** @typedef {import("./geometry.js").Point} Point */
/** @typedef {{at: ArrayLike<number>, label: string, bad?: boolean}} Mark */
/** @typedef {{selected: string, grid: number, flawed: Set<string>, marks: Mark[]}} Shown `grid` is in metres, 0 for none. */
/**
 * @typedef {Object} Heard
 * @property {(id: string) => void} [choose] A thing was tapped; "" for none.
 * @property {(document: any) => void} [change] It was moved, turned or stretched.
 * @property {(point: Point) => void} [pick] A point of the floor was tapped, in a plan that is not edited.
 */

const MARGIN_PX = 36;
const SLOP_PX = 4;
const CATCH_PX = 14;
const LINE_M = 0.5;
const MOST_LINES = 400;
const SIGHT_M = 1.4;
const MOST_ZOOM = 12;
const KINDS = /** @type {Record<string, string>} */ ({ glass: "info", door: "accent", mirror: "warn", wall: "ink-2" });

/** Buttons that come nearer to a drawing and go back. @param {() => Drawing | undefined} drawing */
export function zooming(drawing) {
  return html`<div class="row"><button class="button" data-test="zoom-in" aria-label=${t("draw.nearer")} @click=${() => drawing()?.zoomBy(1.4)}>+</button>
    <button class="button" data-test="zoom-out" aria-label=${t("draw.farther")} @click=${() => drawing()?.zoomBy(1 / 1.4)}>−</button>
    <button class="button" data-test="zoom-fit" @click=${() => drawing()?.fit()}>${t("draw.all")}</button></div>`;
}

/** A plan within an element of the page; call `close` when it goes. */
export class Drawing {
  /** @param {HTMLDivElement} home @param {Heard} heard */
  constructor(home, heard) {
    this.home = home;
    this.heard = heard;
    this.stage = new Konva.Stage({ container: home, width: 10, height: 10 });
    this.layer = new Konva.Layer();
    this.stage.add(this.layer);
    /** @type {any} */
    this.document = null;
    /** @type {Shown} */
    this.shown = { selected: "", grid: 0, flawed: new Set(), marks: [] };
    this.zoom = 1;
    /** @type {Point} What of the store is in the middle, metres. */
    this.centre = [0, 0];
    /** Pixels a metre at zoom 1. */
    this.base = 1;
    /** @type {(() => void) | undefined} Ends what a pointer is doing. */
    this.release = undefined;
    this.resizing = new ResizeObserver(() => this.fit());
    this.resizing.observe(home);
    this.dark = matchMedia("(prefers-color-scheme: dark)");
    this.dark.addEventListener("change", this.#again);
    this.stage.on("pointerdown", (event) => this.#pressed(event));
    home.addEventListener("wheel", this.#wheeled, { passive: false });
  }

  close() {
    this.release?.();
    this.resizing.disconnect();
    this.dark.removeEventListener("change", this.#again);
    this.stage.destroy();
  }

  #again = () => this.#draw(this.document);

  /** @param {any} document @param {Partial<Shown>} shown */
  show(document, shown) {
    const first = this.document === null;
    this.document = document;
    this.shown = { ...this.shown, ...shown };
    if (first) this.fit();
    else if (!this.release) this.#draw(document);
  }

  /** Draw all of the store into the room there is. */
  fit() {
    const [width, height] = [this.home.clientWidth, this.home.clientHeight];
    if (!this.document || !width || !height) return;
    this.stage.size({ width, height });
    const points = thingsOf(this.document).flatMap(({ id }) => this.#around(id));
    if (!points.length) points.push([-3, -2], [3, 2]);
    const [low, high] = [Math.min, Math.max].map((most) => [0, 1].map((axis) => most(...points.map((each) => each[axis]))));
    this.centre = middle([low, high]);
    this.base = Math.min((width - 2 * MARGIN_PX) / Math.max(1, high[0] - low[0]), (height - 2 * MARGIN_PX) / Math.max(1, high[1] - low[1]));
    this.zoom = 1;
    this.#draw(this.document);
  }

  /** @param {number} by */
  zoomBy(by) {
    this.zoom = Math.max(0.5, Math.min(MOST_ZOOM, this.zoom * by));
    this.#draw(this.document);
  }

  /** @param {string} id @returns {ArrayLike<number>[]} */
  #around(id) {
    const extent = extentOf(this.document, id);
    if (extent) return footprint(extent);
    if (parts(id).kind === "camera") return [poseOf(entryOf(this.document, id))?.at ?? []].filter((each) => each.length);
    return pointsOf(this.document, id) ?? entryOf(this.document, id)?.corners_m ?? [];
  }

  get scale() {
    return this.base * this.zoom;
  }

  /** Metres to pixels; north is up. @param {ArrayLike<number>} point */
  px(point) {
    return { x: this.stage.width() / 2 + (point[0] - this.centre[0]) * this.scale, y: this.stage.height() / 2 - (point[1] - this.centre[1]) * this.scale };
  }

  /** Pixels of the drawing to metres. @param {{x: number, y: number}} at @returns {Point} */
  metres({ x, y }) {
    return [this.centre[0] + (x - this.stage.width() / 2) / this.scale, this.centre[1] - (y - this.stage.height() / 2) / this.scale];
  }

  // What a pointer does.

  /** @param {WheelEvent} event */
  #wheeled = (event) => {
    // Without a key, the wheel scrolls the page.
    if (!event.ctrlKey && !event.metaKey) return;
    event.preventDefault();
    this.zoomBy(event.deltaY < 0 ? 1.15 : 1 / 1.15);
  };

  /** @param {any} event */
  #pressed(event) {
    if (!this.document || this.release || event.evt.button > 0) return;
    const from = this.stage.getPointerPosition();
    if (!from) return;
    const name = event.target === this.stage ? "" : event.target.name();
    const { document } = this;
    const start = this.metres(from);
    const centre = this.centre;
    let moves = false;
    let preview = document;
    const handle = name.startsWith("handle:") ? handlesOf(document, this.shown.selected)[Number(name.slice(7))] : undefined;
    const held = this.heard.change ? this.#held(name) : "";
    const before = this.shown.selected;

    const step = (/** @type {PointerEvent} */ moved) => {
      const [dx, dy] = [moved.clientX - event.evt.clientX, moved.clientY - event.evt.clientY];
      if (!moves && Math.hypot(dx, dy) < SLOP_PX) return;
      moves = true;
      const by = [dx / this.scale, -dy / this.scale];
      if (handle) preview = drawnTo(document, before, handle, [start[0] + by[0], start[1] + by[1]], this.shown.grid);
      else if (held) preview = movedOnGrid(document, held, by, this.shown.grid);
      else this.centre = [centre[0] - by[0], centre[1] - by[1]];
      this.#draw(preview);
    };
    const end = () => {
      this.release?.();
      if (moves && preview !== document) return void this.heard.change?.(preview);
      if (!moves && !handle) this.#tapped(name, before, start);
      this.#draw(this.document);
    };
    const drop = (/** @type {Event} */ cause) => {
      if (cause instanceof KeyboardEvent && cause.key !== "Escape") return;
      this.release?.();
      this.#draw(this.document);
    };
    const listeners = /** @type {[string, any][]} */ ([["pointermove", step], ["pointerup", end], ["pointercancel", drop], ["keydown", drop]]);
    for (const [kind, listener] of listeners) window.addEventListener(kind, listener);
    this.release = () => {
      for (const [kind, listener] of listeners) window.removeEventListener(kind, listener);
      this.release = undefined;
    };
    if (held && held !== before) this.heard.choose?.(held);
  }

  /** What is held by a shape: a bin's gondola, unless the bin itself is selected. @param {string} name */
  #held(name) {
    // The floor is moved by its corners or by keys: to draw at it moves the view.
    if (name === "floor" || name.startsWith("handle:")) return "";
    if (name === this.shown.selected) return name;
    return thingsOf(this.document).find((each) => each.id === name)?.parent || name;
  }

  /** @param {string} name @param {string} before What was selected. @param {Point} at */
  #tapped(name, before, at) {
    this.heard.pick?.(this.#caught(at));
    const parent = thingsOf(this.document).find((each) => each.id === name)?.parent ?? "";
    const isInside = parent && (before === parent || thingsOf(this.document).find((each) => each.id === before)?.parent === parent);
    this.heard.choose?.(parent && !isInside ? parent : name);
  }

  /** The corner of something near to a point, else the point to a centimetre. @param {Point} at @returns {Point} */
  #caught(at) {
    const near = (/** @type {Point} */ each) => Math.hypot(each[0] - at[0], each[1] - at[1]) * this.scale;
    const [nearest] = cornersOf(this.document).sort((a, b) => near(a) - near(b));
    return this.shown.grid && nearest && near(nearest) < CATCH_PX ? nearest : [snapped(at[0], 0.01), snapped(at[1], 0.01)];
  }

  // The drawing.

  /** @param {string} name Of a token, without dashes. */
  #colour(name) {
    return getComputedStyle(this.home).getPropertyValue(`--${name}`).trim();
  }

  /** @param {ArrayLike<number>[]} points */
  #flat(points) {
    return points.flatMap((each) => Object.values(this.px(each)));
  }

  /** @param {string} id @param {string} usual */
  #ink(id, usual) {
    return this.#colour(this.shown.flawed.has(id) ? "bad" : id === this.shown.selected ? "focus" : usual);
  }

  /** @param {any} document */
  #draw(document) {
    if (!document) return;
    const { layer } = this;
    layer.destroyChildren();
    this.#floor(document);
    this.#grid();
    for (const { id, kind } of thingsOf(document)) {
      if (kind === "entrance" || kind === "exit") this.#line(id, document);
      if (kind === "surface") this.#surface(id, document);
      if (kind === "bin") this.#bin(id, document);
    }
    for (const number of gondolasOf(document)) this.#gondola(`gondola:${number}`, document);
    for (const { id, kind, parent } of thingsOf(document)) {
      if (kind === "plate" && (id === this.shown.selected || parent === this.shown.selected)) this.#plate(id, document);
      if (kind === "camera") this.#camera(id, document);
    }
    if (this.heard.change && this.shown.selected) this.#handles(document);
    for (const each of this.shown.marks) this.#mark(each);
    layer.draw();
  }

  /** @param {any} document */
  #floor(document) {
    const points = pointsOf(document, "floor");
    if (!points) return;
    const is = this.shown.selected === "floor";
    this.layer.add(new Konva.Line({ name: "floor", points: this.#flat(points), closed: true, fill: this.#colour("surface"), stroke: this.#ink("floor", "line"), strokeWidth: is ? 3 : 1.5 }));
  }

  #grid() {
    const [left, top] = this.metres({ x: 0, y: 0 });
    const [right, bottom] = this.metres({ x: this.stage.width(), y: this.stage.height() });
    const step = LINE_M * 2 ** Math.max(0, Math.ceil(Math.log2(10 / (LINE_M * this.scale))));
    if ((right - left + top - bottom) / step > MOST_LINES) return;
    const stroke = this.#colour("line");
    const draw = (/** @type {ArrayLike<number>[]} */ ends) => this.layer.add(new Konva.Line({ points: this.#flat(ends), stroke, strokeWidth: 0.5, opacity: 0.7, listening: false }));
    for (let x = Math.ceil(left / step) * step; x < right; x += step) draw([[x, bottom], [x, top]]);
    for (let y = Math.ceil(bottom / step) * step; y < top; y += step) draw([[left, y], [right, y]]);
  }

  /** @param {string} id @param {any} document */
  #line(id, document) {
    const ends = pointsOf(document, id) ?? [];
    this.layer.add(new Konva.Line({ name: id, points: this.#flat(ends), stroke: this.#ink(id, "accent"), strokeWidth: 7, hitStrokeWidth: 24, lineCap: "round" }));
    const at = this.px(middle(ends));
    this.#text(thingName(document, id), at.x, at.y + (at.y > this.stage.height() / 2 ? 8 : -22), this.#ink(id, "accent"), true);
  }

  /** @param {string} id @param {any} document */
  #surface(id, document) {
    const surface = entryOf(document, id);
    const points = paneOf(surface)?.ends ?? surface.corners_m;
    const is = id === this.shown.selected;
    this.layer.add(new Konva.Line({ name: id, points: this.#flat(points), stroke: this.#ink(id, KINDS[surface.kind] ?? "ink-2"), strokeWidth: is ? 5 : 3, hitStrokeWidth: 16, lineCap: "butt", dash: surface.kind === "door" ? [8, 4] : [] }));
  }

  /** @param {string} id @param {any} document */
  #bin(id, document) {
    const box = boxOf(entryOf(document, id));
    if (!box) return;
    const is = id === this.shown.selected;
    this.layer.add(new Konva.Line({ name: id, points: this.#flat(footprint(box)), closed: true, fill: this.#colour(is ? "accent-soft" : "ground"), stroke: this.#ink(id, "line"), strokeWidth: is ? 3 : 1 }));
  }

  /** @param {string} id @param {any} document */
  #gondola(id, document) {
    const extent = extentOf(document, id);
    if (!extent) return;
    const corners = footprint(extent);
    const ink = this.#ink(id, "ink-2");
    this.layer.add(new Konva.Line({ points: this.#flat(corners), closed: true, stroke: ink, strokeWidth: id === this.shown.selected ? 3 : 1.5, listening: false }));
    // Where people stand to take something.
    this.layer.add(new Konva.Line({ points: this.#flat(corners.slice(0, 2)), stroke: ink, strokeWidth: 4, listening: false }));
    const { x, y } = this.px(middle(corners));
    this.#text(thingName(document, id), x, y - 7, this.#colour("ink"), true);
  }

  /** @param {string} id @param {any} document */
  #plate(id, document) {
    const box = boxOf(entryOf(document, id));
    if (box) this.layer.add(new Konva.Line({ points: this.#flat(footprint(box)), closed: true, stroke: this.#ink(id, "info"), dash: [3, 3], strokeWidth: id === this.shown.selected ? 3 : 1, listening: false }));
  }

  /** @param {string} id @param {any} document */
  #camera(id, document) {
    const pose = poseOf(entryOf(document, id));
    if (!pose) return;
    const { x, y } = this.px(pose.at);
    const ink = this.#ink(id, "warn");
    // One that looks steeply down sees less far over the floor.
    const radius = Math.max(16, SIGHT_M * this.scale * Math.max(0.35, Math.cos((pose.tilt * Math.PI) / 180)));
    this.layer.add(new Konva.Wedge({ x, y, radius, angle: pose.width, rotation: -pose.heading - pose.width / 2, fill: ink, opacity: 0.22, listening: false }));
    this.layer.add(new Konva.Circle({ name: id, x, y, radius: id === this.shown.selected ? 9 : 7, fill: ink, hitStrokeWidth: 24 }));
    this.#text(parts(id).key, x, y + 10, this.#colour("ink"), false);
  }

  /** @param {any} document */
  #handles(document) {
    const [surface, focus] = ["surface", "focus"].map((each) => this.#colour(each));
    for (const [index, each] of handlesOf(document, this.shown.selected).entries()) {
      const { x, y } = this.px(each.at);
      const common = { name: `handle:${index}`, x, y, fill: surface, stroke: focus, strokeWidth: 3, hitStrokeWidth: 20 };
      if (each.kind === "turn") this.layer.add(new Konva.Circle({ ...common, radius: 8 }), new Konva.Circle({ x, y, radius: 3, fill: focus, listening: false }));
      else this.layer.add(new Konva.Rect({ ...common, width: 12, height: 12, offsetX: 6, offsetY: 6 }));
    }
  }

  /** @param {Mark} mark */
  #mark({ at, label, bad }) {
    const { x, y } = this.px(at);
    const ink = this.#colour(bad ? "bad" : "focus");
    for (const [dx, dy] of [[9, 9], [9, -9]]) this.layer.add(new Konva.Line({ points: [x - dx, y - dy, x + dx, y + dy], stroke: ink, strokeWidth: 2, listening: false }));
    this.#text(label, x, y - 26, ink, true);
  }

  /** @param {string} text @param {number} x Its middle. @param {number} y @param {string} fill @param {boolean} bold */
  #text(text, x, y, fill, bold) {
    // The drawing reads from the left, its words as their language does.
    const isolated = getComputedStyle(this.home.ownerDocument.documentElement).direction === "rtl" ? `\u2067${text}\u2069` : text;
    const node = new Konva.Text({ text: isolated, fill, fontFamily: getComputedStyle(this.home).fontFamily, fontSize: 13, fontStyle: bold ? "bold" : "normal", listening: false });
    node.position({ x: Math.max(2, Math.min(this.stage.width() - node.width() - 2, x - node.width() / 2)), y });
    this.layer.add(node);
  }
}
