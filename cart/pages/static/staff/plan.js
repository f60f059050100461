/** The floor plan, drawn with Konva: shelves, doors, cameras, and people who move smoothly between what the store says. */
import Konva from "konva";
import { number, t } from "../common/i18n.js";

/** @typedef {[number, number]} Point */
/** @typedef {{identity_id: string, session_id: string | null, label: string, position_m: Point, hands_m: [number, number, number][], units: number, flagged: boolean}} Person */

const MARGIN_PX = 28;
const GLIDE_S = 0.25;
const STILL = matchMedia("(prefers-reduced-motion: reduce)");

/** A plan within an element of the page; call `close` when it goes. */
export class Plan {
  /** @param {HTMLDivElement} home @param {(person: Person) => void} choose @param {(text: string) => void} tell What is under the pointer. */
  constructor(home, choose, tell) {
    this.home = home;
    this.choose = choose;
    this.tell = tell;
    this.stage = new Konva.Stage({ container: home, width: 10, height: 10 });
    this.ground = new Konva.Layer();
    this.crowd = new Konva.Layer();
    this.stage.add(this.ground, this.crowd);
    /** @type {any} */
    this.floor = null;
    /** @type {Map<string, {group: any, hands: any, body: any, text: any, units: any, at: Point, to: Point, person: Person}>} */
    this.people = new Map();
    this.selected = "";
    this.resizing = new ResizeObserver(() => this.fit());
    this.resizing.observe(home);
    this.dark = matchMedia("(prefers-color-scheme: dark)");
    this.dark.addEventListener("change", this.#redraw);
    this.motion = new Konva.Animation((frame) => this.#move((frame?.timeDiff ?? 16) / 1000), this.crowd);
    this.motion.start();
  }

  close() {
    this.motion.stop();
    this.resizing.disconnect();
    this.dark.removeEventListener("change", this.#redraw);
    this.stage.destroy();
  }

  #redraw = () => this.fit();

  /** @param {string} name Of a token, without dashes. */
  #colour(name) {
    return getComputedStyle(this.home).getPropertyValue(`--${name}`).trim();
  }

  /** @param {any} floor */
  show(floor) {
    this.floor = floor;
    this.fit();
  }

  /** Draw the ground anew, to the size there is. */
  fit() {
    const [width, height] = [this.home.clientWidth, this.home.clientHeight];
    if (!this.floor || !width || !height) return;
    this.stage.size({ width, height });
    const points = [
      ...(this.floor.walkable_m ?? []),
      ...(this.floor.entrance_m ?? []),
      ...(this.floor.exit_m ?? []),
      ...this.floor.walls.flatMap((/** @type {any} */ each) => each.outline_m),
      ...this.floor.bins.flatMap((/** @type {any} */ each) => each.outline_m),
      ...this.floor.cameras.map((/** @type {any} */ each) => each.position_m),
    ];
    const [xs, ys] = [0, 1].map((axis) => points.map((each) => each[axis]));
    if (!points.length) return;
    this.left = Math.min(...xs);
    this.top = Math.max(...ys);
    this.scale = Math.min((width - 2 * MARGIN_PX) / Math.max(1, Math.max(...xs) - this.left), (height - 2 * MARGIN_PX) / Math.max(1, this.top - Math.min(...ys)));
    this.shift = [(width - (Math.max(...xs) - this.left) * this.scale) / 2, (height - (this.top - Math.min(...ys)) * this.scale) / 2];
    this.#draw();
    for (const each of this.people.values()) this.#paint(each);
  }

  /** Metres to pixels; north is up. @param {ArrayLike<number>} point */
  px(point) {
    const [x = 0, y = 0] = this.shift ?? [];
    return { x: x + (point[0] - (this.left ?? 0)) * (this.scale ?? 1), y: y + ((this.top ?? 0) - point[1]) * (this.scale ?? 1) };
  }

  /** @param {ArrayLike<number>[]} points */
  #flat(points) {
    return points.flatMap((each) => Object.values(this.px(each)));
  }

  #draw() {
    const [soft, line, surface, accent, warn] = ["ink-2", "line", "surface", "accent", "warn"].map((each) => this.#colour(each));
    const font = getComputedStyle(this.home).fontFamily;
    const layer = this.ground;
    layer.destroyChildren();
    if (this.floor.walkable_m) layer.add(new Konva.Line({ points: this.#flat(this.floor.walkable_m), closed: true, fill: surface, stroke: line, strokeWidth: 1.5 }));
    for (const each of this.floor.walls) layer.add(new Konva.Line({ points: this.#flat(each.outline_m), stroke: soft, strokeWidth: 3, lineCap: "round" }));
    for (const [key, ends] of /** @type {[string, Point[] | null][]} */ ([["floor.entrance", this.floor.entrance_m], ["floor.exit", this.floor.exit_m]])) {
      if (!ends) continue;
      layer.add(new Konva.Line({ points: this.#flat(ends), stroke: accent, strokeWidth: 6, lineCap: "round" }));
      const [a, b] = ends.map((each) => this.px(each));
      const text = new Konva.Text({ text: t(key), fontFamily: font, fontSize: 13, fontStyle: "bold", fill: accent });
      const y = (a.y + b.y) / 2;
      const below = y > this.stage.height() / 2 ? -20 : 8;
      text.position({ x: Math.max(2, Math.min(this.stage.width() - text.width() - 2, (a.x + b.x - text.width()) / 2)), y: y + below });
      layer.add(text);
    }
    // Shelves stand above each other, so what lies at one place of the plan is told together.
    const places = Map.groupBy(this.floor.bins, (/** @type {any} */ each) => JSON.stringify(each.outline_m.map((/** @type {Point} */ p) => p.map((v) => Math.round(v * 20)))));
    for (const bins of places.values()) {
      const outline = bins[0].outline_m;
      const shape = new Konva.Line({ points: this.#flat(outline), closed: true, fill: this.#colour("ground"), stroke: line, strokeWidth: 1 });
      const words = bins
        .toSorted((a, b) => b.height_m[0] - a.height_m[0])
        .map((each) => `${t("place.shelf", { gondola: each.gondola_id, shelf: each.shelf_id })}: ${each.name ?? each.sku ?? t("floor.empty_bin")}`);
      const tell = () => (shape.stroke(accent), shape.strokeWidth(2), this.tell(words.join("\n")));
      shape.on("pointerenter pointerdown", tell);
      shape.on("pointerleave", () => (shape.stroke(line), shape.strokeWidth(1), this.tell("")));
      layer.add(shape);
      this.#name(layer, outline, bins.map((each) => each.name ?? "").filter(Boolean), soft, font);
    }
    for (const each of this.floor.cameras) {
      const { x, y } = this.px(each.position_m);
      const angle = (Math.atan2(-each.looks_m[1], each.looks_m[0]) * 180) / Math.PI;
      layer.add(new Konva.Wedge({ x, y, radius: 22, angle: 60, rotation: angle - 30, fill: warn, opacity: 0.3, listening: false }));
      const dot = new Konva.Circle({ x, y, radius: 6, fill: warn, hitStrokeWidth: 24 });
      dot.on("pointerenter pointerdown", () => this.tell(t("floor.camera", { camera: each.camera_id })));
      dot.on("pointerleave", () => this.tell(""));
      layer.add(dot);
    }
    layer.draw();
  }

  /** The names of what lies there, written along the longer side where there is room. @param {any} layer @param {Point[]} outline @param {string[]} names @param {string} colour @param {string} font */
  #name(layer, outline, names, colour, font) {
    const corners = outline.map((each) => this.px(each));
    const [width, height] = /** @type {const} */ (["x", "y"]).map((axis) => Math.max(...corners.map((c) => c[axis])) - Math.min(...corners.map((c) => c[axis])));
    const [long, short] = [Math.max(width, height), Math.min(width, height)];
    if (short < 9 || long < 28 || !names.length) return;
    const size = Math.max(8, Math.min(10, short / Math.min(2, names.length) - 2));
    const text = new Konva.Text({ text: names.join(" · "), width: long - 4, height: short - 2, fontSize: size, fontFamily: font, fill: colour, ellipsis: true, wrap: short > 2.2 * size ? "word" : "none", align: "center", verticalAlign: "middle", listening: false });
    const x = Math.min(...corners.map((c) => c.x));
    const y = Math.min(...corners.map((c) => c.y));
    if (width >= height) text.position({ x: x + 2, y: y + 1 });
    else text.setAttrs({ rotation: -90, x: x + 1, y: y + long - 2 });
    layer.add(text);
  }

  /** @param {Person[]} people */
  set(people) {
    const here = new Set(people.map((each) => each.identity_id));
    for (const [id, each] of this.people) {
      if (here.has(id)) continue;
      each.group.destroy();
      this.people.delete(id);
    }
    for (const person of people) {
      let each = this.people.get(person.identity_id);
      if (!each) {
        const group = new Konva.Group();
        const body = new Konva.Circle({ radius: 13, strokeWidth: 3, hitStrokeWidth: 22 });
        const text = new Konva.Text({ fontSize: 12, fontStyle: "bold", align: "center", listening: false });
        const units = new Konva.Text({ fontSize: 11, fontStyle: "bold", align: "center", width: 26, offsetX: 13, y: -5.5, listening: false });
        // Hands go with the body while it glides.
        const hands = new Konva.Group({ listening: false });
        group.add(hands, body, text, units);
        this.crowd.add(group);
        each = { group, hands, body, text, units, at: person.position_m, to: person.position_m, person };
        const mine = each;
        group.on("click tap", () => this.choose(mine.person));
        group.on("pointerenter", () => (this.home.style.cursor = "pointer"));
        group.on("pointerleave", () => (this.home.style.cursor = ""));
        this.people.set(person.identity_id, each);
      }
      each.person = person;
      each.to = person.position_m;
      this.#paint(each);
    }
  }

  /** @param {string} id */
  select(id) {
    this.selected = id;
    for (const each of this.people.values()) this.#paint(each);
  }

  /** @param {any} each */
  #paint(each) {
    const { person } = each;
    const flagged = person.flagged;
    each.body.setAttrs({
      fill: this.#colour(flagged ? "warn" : "accent"),
      stroke: this.#colour(person.identity_id === this.selected ? "focus" : "surface"),
      strokeWidth: person.identity_id === this.selected ? 5 : 3,
    });
    each.units.setAttrs({ text: number(person.units), fill: this.#colour(flagged ? "surface" : "accent-ink") });
    each.text.setAttrs({ text: person.label, fill: this.#colour("ink"), fontFamily: getComputedStyle(this.home).fontFamily });
    each.text.position({ x: -each.text.width() / 2, y: 16 });
    each.hands.destroyChildren();
    const body = this.px(each.to);
    for (const hand of person.hands_m ?? []) {
      const seen = this.px(hand);
      const [x, y] = [seen.x - body.x, seen.y - body.y];
      each.hands.add(new Konva.Line({ points: [0, 0, x, y], stroke: this.#colour("info"), strokeWidth: 2, opacity: 0.6 }));
      each.hands.add(new Konva.Circle({ x, y, radius: 4, fill: this.#colour("info") }));
    }
    each.group.position(this.px(each.at));
  }

  /** @param {number} passed_s */
  #move(passed_s) {
    const share = STILL.matches ? 1 : 1 - Math.exp((-3 * passed_s) / GLIDE_S);
    let moved = false;
    for (const each of this.people.values()) {
      const [dx, dy] = [each.to[0] - each.at[0], each.to[1] - each.at[1]];
      if (Math.abs(dx) + Math.abs(dy) < 0.002) continue;
      each.at = [each.at[0] + dx * share, each.at[1] + dy * share];
      each.group.position(this.px(each.at));
      moved = true;
    }
    return moved;
  }
}
