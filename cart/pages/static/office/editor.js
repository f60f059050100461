/** The drawn editor of a draft: the plan, a list of all that is in it, fields of what is selected, a gondola's front. */
import { html, nothing } from "lit";
import { live } from "lit/directives/live.js";
import { all } from "../common/api.js";
import { t } from "../common/i18n.js";
import { Loaded, View } from "../common/view.js";
import { Drawing, zooming } from "./drawing.js";
import {
  binAdded, cameraAdded, cameraRenamed, entryOf, exists, extentOf, gondolaAdded, gondolasOf, moved, numbered, parts, placeOf, pointsOf,
  removed, shelfAdded, shelvesOf, surfaceAdded, thingAt, thingsOf, withField, withPoints, withProduct, zoneAdded,
} from "./editing.js";
import { paneOf, poseOf, snapped, tidy, withPane } from "./geometry.js";
import { thingName } from "./words.js";
import "./front.js";
import "./products.js";

/** @typedef {import("./editing.js").Thing} Thing */
/** @typedef {import("./editing.js").Added} Added */
/** @typedef {{place: (string | number)[], message: string}} Flaw */

const GRID_M = 0.05;
const FINE_M = 0.01;
const FAR = 10;
const ARROWS = /** @type {Record<string, [number, number]>} */ ({ ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, 1], ArrowDown: [0, -1] });
const SURFACES = ["glass", "mirror", "wall", "door"];
const WH = [1280, 720];
/** Which key of an entry a field of the page belongs to, so that an objection stands at the field. @type {Record<string, string[]>} */
const KEYS = {
  corner_m: ["x", "y", "z"], min_m: ["x", "y", "z"], max_m: ["width", "depth", "height"], size_m: ["width", "depth", "height"], yaw_deg: ["yaw"],
  world_from_cam: ["x", "y", "z", "yaw", "tilt"], bin: ["bin"], capacity: ["capacity"], sku: ["sku"],
};

class LayoutEditor extends View {
  static properties = { document: {}, flaws: {}, cameras: {}, selected: { state: true }, snaps: { state: true }, spoken: { state: true } };
  products = new Loaded(this, () => all("/v1/products?limit=100", 2000));

  constructor() {
    super();
    /** @type {any} The draft. */
    this.document = {};
    /** @type {Flaw[]} */
    this.flaws = [];
    /** @type {any[]} The cameras that the store has. */
    this.cameras = [];
    this.selected = "";
    this.snaps = true;
    this.spoken = "";
    /** @type {Drawing | undefined} */
    this.drawing = undefined;
  }

  connectedCallback() {
    super.connectedCallback();
    void this.products.load();
  }

  disconnectedCallback() {
    super.disconnectedCallback();
    this.drawing?.close();
    this.drawing = undefined;
  }

  get grid() {
    return this.snaps ? GRID_M : 0;
  }

  /** Ids of what the store objects to, and of the gondolas that hold it. */
  get flawed() {
    const things = new Map(thingsOf(this.document).map((each) => [each.id, each]));
    return new Set(this.flaws.map((each) => thingAt(this.document, each.place)).flatMap((id) => [id, things.get(id)?.parent ?? ""]).filter(Boolean));
  }

  willUpdate() {
    if (this.selected && !exists(this.document, this.selected)) this.selected = "";
  }

  updated() {
    const home = /** @type {HTMLDivElement | null} */ (this.querySelector(".drawing"));
    if (!home) return;
    this.drawing ??= new Drawing(home, { choose: (id) => (this.selected = id), change: (document) => this.#change(document) });
    this.drawing.show(this.document, { selected: this.selected, grid: this.grid, flawed: this.flawed });
  }

  /** @param {any} document @param {string} [mark] */
  #change(document, mark = "") {
    this.dispatchEvent(new CustomEvent("change-draft", { detail: { document, mark } }));
    this.document = document;
    const place = this.selected && placeOf(document, this.selected);
    if (place) this.spoken = t("draw.now_at", { thing: thingName(document, this.selected), x: tidy(place[0]), y: tidy(place[1]) });
  }

  /** @param {Added} added */
  async #added({ document, id }) {
    this.selected = id;
    this.#change(document);
    await this.updateComplete;
    /** @type {HTMLElement | null} */ (this.querySelector(`.things [data-id="${CSS.escape(id)}"]`))?.focus();
  }

  /** Select a thing, and go to its entry in the list. @param {string} id */
  async choose(id) {
    this.selected = id;
    await this.updateComplete;
    /** @type {HTMLElement | null} */ (this.querySelector(`.things [data-id="${CSS.escape(id)}"]`))?.focus();
  }

  /** @param {KeyboardEvent} event @param {string} id */
  #key(event, id) {
    if (event.ctrlKey || event.metaKey) return;
    if (event.key === "Delete") this.#remove(id);
    else if (event.key in ARROWS) {
      this.selected = id;
      this.#nudge(ARROWS[event.key], event.altKey ? FINE_M : GRID_M * (event.shiftKey ? FAR : 1));
    } else return;
    event.preventDefault();
  }

  /** @param {[number, number]} way @param {number} step */
  #nudge([x, y], step) {
    this.#change(moved(this.document, this.selected, [x * step, y * step]), `move ${this.selected} ${x} ${y}`);
  }

  /** @param {string} id */
  #remove(id) {
    const parent = thingsOf(this.document).find((each) => each.id === id)?.parent ?? "";
    const next = removed(this.document, id);
    this.spoken = t("draw.removed", { thing: thingName(this.document, id) });
    this.selected = exists(next, parent) ? parent : "";
    this.dispatchEvent(new CustomEvent("change-draft", { detail: { document: next, mark: "" } }));
    this.document = next;
    void this.updateComplete.then(() => /** @type {HTMLElement | null} */ (this.querySelector(".things [aria-pressed='true'], .things button"))?.focus());
  }

  /** The middle of what the drawing shows, on the grid. @returns {[number, number]} */
  get middle() {
    const [x, y] = this.drawing?.centre ?? [0, 0];
    return [snapped(x, GRID_M), snapped(y, GRID_M)];
  }

  #addCamera() {
    const taken = this.document.cameras ?? {};
    const known = this.cameras.find((each) => !taken[each.camera_id]);
    let name = known?.camera_id ?? "camera1";
    for (let number = 2; taken[name]; number++) name = `camera${number}`;
    return this.#added(cameraAdded(this.document, name, this.middle, known?.resolution_wh ?? WH));
  }

  // Drawing it.

  #tools() {
    const act = (/** @type {string} */ key, /** @type {() => void} */ what) => html`<button class="button" data-test=${key} @click=${what}>${t(key)}</button>`;
    return html`<div class="row tools" role="group" aria-label=${t("draw.tools")}>
      ${act("draw.add_gondola", () => this.#added(gondolaAdded(this.document, this.middle)))}
      ${act("draw.add_camera", () => this.#addCamera())}
      ${act("draw.add_wall", () => this.#added(surfaceAdded(this.document, this.middle)))}
      ${/** @type {const} */ (["floor", "entrance", "exit"]).filter((each) => !pointsOf(this.document, each)).map((each) => act(`draw.add_${each}`, () => this.#added(zoneAdded(this.document, each, this.middle))))}
      <label class="row check"><input type="checkbox" data-test="snap" .checked=${this.snaps} @change=${(/** @type {any} */ event) => (this.snaps = event.target.checked)} />${t("draw.snap", { cm: GRID_M * 100 })}</label></div>`;
  }

  /** @param {Thing} each @param {Set<string>} flawed */
  #row(each, flawed) {
    return html`<li class=${each.parent ? "inner" : ""}><button class="button plain" data-test="thing" data-id=${each.id} aria-pressed=${each.id === this.selected} aria-describedby="keys" @click=${() => (this.selected = each.id)} @keydown=${(/** @type {KeyboardEvent} */ event) => this.#key(event, each.id)}>
      <span dir="auto">${thingName(this.document, each.id)}</span>${flawed.has(each.id) ? html`<span class="badge bad">${t("draw.wrong")}</span>` : nothing}</button></li>`;
  }

  #list() {
    const things = thingsOf(this.document);
    const open = things.find((each) => each.id === this.selected);
    const shown = things.filter((each) => !each.parent || each.parent === this.selected || each.parent === open?.parent);
    const { flawed } = this;
    return html`<ul class="things" data-test="things" aria-label=${t("draw.things")}>${shown.map((each) => this.#row(each, flawed))}</ul>`;
  }

  /** A field for a number. @param {string} key @param {number | undefined} value @param {(value: number | undefined) => void} put @param {{step?: number, min?: number, optional?: boolean, label?: string}} [more] */
  #number(key, value, put, { step = FINE_M, min, optional = false, label = t(`field.${key}`) } = {}) {
    const input = (/** @type {any} */ event) => {
      const { valueAsNumber, value: text } = event.target;
      if (Number.isFinite(valueAsNumber)) put(valueAsNumber);
      else if (optional && text === "") put(undefined);
      else event.target.value = value ?? "";
    };
    return this.#field(key, label, html`<input id="f-${key}" type="number" data-test="field-${key}" step=${step === FINE_M ? "any" : step} min=${min ?? nothing} .value=${live(value === undefined ? "" : String(Math.round(value * 1000) / 1000))} aria-invalid=${this.#objections(key).length ? "true" : "false"} aria-describedby="f-${key}-problem" @change=${input} />`);
  }

  /** @param {string} key @param {string} label @param {unknown} input */
  #field(key, label, input) {
    const objections = this.#objections(key);
    return html`<div class="field"><label for="f-${key}">${label}</label>${input}
      <span id="f-${key}-problem" class="error small" dir="auto" ?hidden=${!objections.length} data-test="field-problem">${objections.map((each) => each.message).join("; ")}</span></div>`;
  }

  /** What the store objects to at a field of the selected thing; without one, at what has no field of its own. @param {string} [key] */
  #objections(key) {
    const own = this.flaws.filter((each) => thingAt(this.document, each.place) === this.selected);
    return own.filter(({ place: [, , entry, axis] }) => {
      const fields = KEYS[String(entry)];
      return key === undefined ? !fields : typeof axis === "number" && axis in (fields ?? []) ? fields[axis] === key : fields?.includes(key);
    });
  }

  /** @param {string} key @param {number} [step] */
  #own(key, step) {
    const { kind } = parts(this.selected);
    const extent = extentOf(this.document, this.selected);
    const place = placeOf(this.document, this.selected) ?? [];
    const pose = kind === "camera" ? poseOf(entryOf(this.document, this.selected)) : null;
    const [width, depth, height] = extent?.size ?? [];
    const value = /** @type {Record<string, number | undefined>} */ ({ x: place[0], y: place[1], z: place[2], yaw: pose?.heading ?? extent?.yaw, tilt: pose?.tilt, width, depth, height })[key];
    if (value === undefined) return nothing;
    const label = kind === "camera" && key === "yaw" ? t("field.heading") : undefined;
    return this.#number(key, value, (put) => put !== undefined && this.#change(numbered(this.document, this.selected, key, put)), { step, label });
  }

  #fields() {
    const { kind, key } = parts(this.selected);
    const keys = kind === "camera" ? ["x", "y", "z", "yaw", "tilt"] : kind === "gondola" ? ["x", "y", "yaw", "width", "depth"] : kind === "bin" || kind === "plate" ? ["x", "y", "z", "yaw", "width", "depth", "height"] : [];
    const own = keys.map((each) => this.#own(each));
    if (kind === "bin") return html`<div class="fields">${this.#text("bin")}${own}${this.#whole("capacity")}${this.#whole("shelf")}</div>${this.#product()}`;
    if (kind === "camera") return html`<div class="fields">${this.#cameraName(key)}${own}</div>
      ${poseOf(entryOf(this.document, this.selected)) ? nothing : html`<p class="notice warn">${t("draw.not_calibrated")}</p>`}
      <div class="row"><a class="button" data-test="to-calibration" href="#/layout/calibration?camera=${encodeURIComponent(key)}">${t("draw.calibrate")}</a></div>`;
    if (kind === "gondola") return html`<div class="fields">${own}</div>${this.#shelves(Number(key))}`;
    if (kind === "surface") return html`<div class="fields">${this.#surface()}</div>${this.#points()}`;
    return html`<div class="fields">${own}</div>${this.#points()}`;
  }

  /** @param {string} key */
  #text(key) {
    const put = (/** @type {any} */ event) => this.#change(withField(this.document, this.selected, key, event.target.value.trim()));
    return this.#field(key, t(`field.${key}`), html`<input id="f-${key}" data-test="field-${key}" dir="auto" autocomplete="off" .value=${live(entryOf(this.document, this.selected)[key] ?? "")} aria-invalid=${this.#objections(key).length ? "true" : "false"} aria-describedby="f-${key}-problem" @change=${put} />`);
  }

  /** @param {string} key */
  #whole(key) {
    return this.#number(key, entryOf(this.document, this.selected)[key], (value) => this.#change(withField(this.document, this.selected, key, value)), { step: 1, min: 1, optional: true });
  }

  /** @param {string} name */
  #cameraName(name) {
    const put = (/** @type {any} */ event) => {
      const next = cameraRenamed(this.document, name, event.target.value.trim());
      if (next === this.document) event.target.value = name;
      else {
        this.selected = `camera:${event.target.value.trim()}`;
        this.#change(next);
      }
    };
    return this.#field("camera", t("field.camera"), html`<input id="f-camera" data-test="field-camera" dir="ltr" autocomplete="off" .value=${live(name)} aria-describedby="f-camera-problem" @change=${put} />`);
  }

  #surface() {
    const { document, selected } = this;
    const surface = entryOf(document, selected);
    const pane = paneOf(surface);
    const put = (/** @type {number} */ low, /** @type {number} */ high) => pane && this.#change({ ...document, surfaces: document.surfaces.map((/** @type {any} */ each) => (each === surface ? withPane(each, pane.ends, low, high) : each)) });
    return html`${this.#field("kind", t("field.kind"), html`<select id="f-kind" data-test="field-kind" aria-describedby="f-kind-problem" @change=${(/** @type {any} */ event) => this.#change(withField(document, selected, "kind", event.target.value))}>
        ${SURFACES.map((each) => html`<option value=${each} .selected=${live(each === surface.kind)}>${t(`surface.${each}`)}</option>`)}</select>`)}
      ${pane ? html`${this.#number("low", pane.low, (value) => value !== undefined && put(value, pane.high))}${this.#number("high", pane.high, (value) => value !== undefined && put(pane.low, value))}` : nothing}`;
  }

  /** The points of an outline, each with its two numbers. */
  #points() {
    const points = pointsOf(this.document, this.selected);
    if (!points) return nothing;
    const isFloor = this.selected === "floor";
    const put = (/** @type {import("./geometry.js").Point[]} */ next) => this.#change(withPoints(this.document, this.selected, next));
    const change = (/** @type {number} */ index, /** @type {number} */ axis) => (/** @type {any} */ event) => {
      const value = event.target.valueAsNumber;
      if (Number.isFinite(value)) put(points.map((each, at) => (at === index ? (axis === 0 ? [value, each[1]] : [each[0], value]) : each)));
      else event.target.value = points[index][axis];
    };
    const between = (/** @type {number} */ index) => {
      const [a, b] = [points[index], points[(index + 1) % points.length]];
      put(points.toSpliced(index + 1, 0, [snapped((a[0] + b[0]) / 2, FINE_M), snapped((a[1] + b[1]) / 2, FINE_M)]));
    };
    return html`<div class="scroll-x" tabindex="0"><table class="points" data-test="points"><thead><tr><th scope="col">${t("draw.point")}</th><th scope="col">${t("field.x")}</th><th scope="col">${t("field.y")}</th>${isFloor ? html`<td></td>` : nothing}</tr></thead>
      <tbody>${points.map((each, index) => html`<tr><th scope="row">${index + 1}</th>${[0, 1].map((axis) => html`<td><input type="number" step="any" data-test="point-${"xy"[axis]}" aria-label=${`${t("draw.point")} ${index + 1}: ${t(axis ? "field.y" : "field.x")}`} .value=${live(String(each[axis]))} @change=${change(index, axis)} /></td>`)}
        ${isFloor ? html`<td class="row"><button class="button" data-test="point-add" aria-label=${`${t("draw.point_add")}: ${index + 1}`} @click=${() => between(index)}>+</button>
          <button class="button" data-test="point-remove" ?disabled=${points.length <= 3} aria-label=${`${t("draw.point_remove")}: ${index + 1}`} @click=${() => put(points.toSpliced(index, 1))}>−</button></td>` : nothing}</tr>`)}</tbody></table></div>`;
  }

  #product() {
    const put = (/** @type {CustomEvent} */ event) => this.#change(withProduct(this.document, this.selected, event.detail));
    return this.products.show((sold) => html`<product-choice .sku=${entryOf(this.document, this.selected).sku ?? ""} .sold=${sold} .known=${this.document.products ?? []} @choose=${put}></product-choice>`);
  }

  /** @param {number} gondola */
  #shelves(gondola) {
    return html`<div class="row"><button class="button" data-test="add-shelf" ?disabled=${!shelvesOf(this.document, gondola).length} @click=${() => this.#added(shelfAdded(this.document, gondola))}>${t("draw.add_shelf")}</button>
      ${shelvesOf(this.document, gondola).map((shelf) => html`<button class="button" data-test="add-bin" data-shelf=${shelf} @click=${() => this.#added(binAdded(this.document, gondola, shelf))}>${t("draw.add_bin", { shelf })}</button>`)}</div>`;
  }

  #moving() {
    if (!placeOf(this.document, this.selected)) return nothing;
    const step = t("draw.step", { cm: GRID_M * 100 });
    return html`<div class="pad" dir="ltr" role="group" aria-label=${t("draw.move")}>${Object.entries({ ArrowUp: "↑", ArrowLeft: "←", ArrowRight: "→", ArrowDown: "↓" }).map(
      ([key, sign]) => html`<button class="button ${key}" data-test=${key} aria-label=${`${t(`draw.${key}`)}, ${step}`} @click=${() => this.#nudge(ARROWS[key], GRID_M)}>${sign}</button>`)}</div>`;
  }

  #selected() {
    if (!this.selected) return html`<p class="muted">${t("draw.choose")}</p>`;
    const objections = this.#objections();
    return html`<h3 dir="auto" data-test="selected" data-id=${this.selected}>${thingName(this.document, this.selected)}</h3>
      ${objections.map((each) => html`<p class="notice bad" role="alert" dir="auto" data-test="thing-problem">${each.message}</p>`)}
      ${this.#fields()}
      <div class="row spread">${this.#moving()}<button class="button danger" data-test="remove" @click=${() => this.#remove(this.selected)}>${t("draw.remove")}</button></div>`;
  }

  #front() {
    const { kind, key } = parts(this.selected);
    const parent = thingsOf(this.document).find((each) => each.id === this.selected)?.parent ?? "";
    const gondola = kind === "gondola" ? Number(key) : parent ? Number(parts(parent).key) : undefined;
    if (gondola === undefined || !gondolasOf(this.document).includes(gondola)) return nothing;
    const known = new Map([...(this.document.products ?? []), ...(this.products.value ?? [])].map((each) => [each.sku, each.name]));
    return html`<section class="card"><h2>${t("draw.front", { name: String(gondola) })}</h2>
      <gondola-front .document=${this.document} .gondola=${gondola} .selected=${this.selected} .flawed=${this.flawed} .names=${(/** @type {string} */ sku) => known.get(sku) ?? sku} @choose=${(/** @type {CustomEvent} */ event) => (this.selected = event.detail)}></gondola-front></section>`;
  }

  render() {
    return html`<div class="stack" data-test="editor">${this.#tools()}
      <p id="keys" class="muted small">${t("draw.keys", { cm: GRID_M * 100, far: GRID_M * FAR * 100, fine: FINE_M * 100 })}</p>
      <p class="visually-hidden" aria-live="polite" data-test="spoken">${this.spoken}</p>
      <div class="drawn"><section class="card plan-card" aria-label=${t("draw.plan")}>
          <div class="drawing" dir="ltr" data-test="drawing" aria-hidden="true"></div>
          ${zooming(() => this.drawing)}</section>
        <section class="card" aria-labelledby="things-title"><h2 id="things-title">${t("draw.things")}</h2>${this.#list()}</section>
        <section class="card" aria-labelledby="fields-title" data-test="fields"><h2 id="fields-title">${t("draw.selected")}</h2>${this.#selected()}</section></div>
      ${this.#front()}</div>`;
  }
}
customElements.define("layout-editor", LayoutEditor);
