/** Placing a camera: the same points clicked in its picture and on the plan, how well they fit, and what then is seen where. */
import { html, nothing } from "lit";
import { live } from "lit/directives/live.js";
import { Problem, picture, request, send } from "../common/api.js";
import { number, t } from "../common/i18n.js";
import { Loaded, View, empty, place, toast } from "../common/view.js";
import { Drawing, zooming } from "./drawing.js";
import { withCamera } from "./editing.js";

/** @typedef {{pixel: number[] | null, place: number[] | null}} Pair Pixels of the picture as the layout has its size; metres. */
/** @typedef {{camera: any, rms_px: number, residuals_px: number[], left_out: number[], worst: number}} Fit */
/** @typedef {{pairs: Pair[], fit: Fit | null}} Work */

const ENOUGH = 4;
const ENOUGH_FOR_A_LENS = 6;
/** What was clicked for a camera stays while one looks at other things. @type {Map<string, Work>} */
const works = new Map();

class LayoutCalibration extends View {
  static properties = { document: {}, cameras: {}, camera: { state: true }, height: { state: true }, lens: { state: true }, large: { state: true }, busy: { state: true }, problem: { state: true }, drawn: { state: true }, natural: { state: true } };
  shot = new Loaded(this, (name) => picture(`/v1/cameras/${encodeURIComponent(name)}/picture`));

  constructor() {
    super();
    /** @type {any} The draft. */
    this.document = {};
    /** @type {any[]} The cameras that the store has. */
    this.cameras = [];
    this.camera = "";
    this.height = 0;
    /** @type {"known" | "focal" | "bends"} */
    this.lens = "known";
    this.large = false;
    this.busy = false;
    this.problem = "";
    /** @type {string} Address of a picture with the layout in it. */
    this.drawn = "";
    /** @type {number[]} Size of the picture as it came. */
    this.natural = [0, 0];
    /** @type {Drawing | undefined} */
    this.plan = undefined;
  }

  disconnectedCallback() {
    super.disconnectedCallback();
    this.plan?.close();
    this.plan = undefined;
    this.#forget();
  }

  #forget() {
    for (const each of [this.shot.value, this.drawn]) if (each) URL.revokeObjectURL(each);
    this.shot.value = undefined;
    this.drawn = "";
  }

  /** Names of cameras that can be placed: those that give pictures, and those that the layout has. */
  get names() {
    return [...new Set([...this.cameras.map((each) => each.camera_id), ...Object.keys(this.document.cameras ?? {})])];
  }

  get entry() {
    return this.document.cameras?.[this.camera];
  }

  /** @returns {Work} */
  get work() {
    return works.get(this.camera) ?? { pairs: [], fit: null };
  }

  /** Size of the picture that pixels are told in. @returns {number[]} */
  get wh() {
    return this.entry?.resolution_wh ?? this.cameras.find((each) => each.camera_id === this.camera)?.resolution_wh ?? this.natural;
  }

  get complete() {
    return this.work.pairs.filter((each) => each.pixel && each.place);
  }

  /** How many pairs are needed. */
  get enough() {
    const heights = new Set(this.complete.map((each) => each.place?.[2]));
    return this.lens === "known" || heights.size < 2 ? ENOUGH : ENOUGH_FOR_A_LENS;
  }

  willUpdate() {
    const { names } = this;
    const wanted = place().query.get("camera") ?? "";
    if (!this.camera && names.length) this.#choose(names.includes(wanted) ? wanted : names[0]);
  }

  updated() {
    const home = /** @type {HTMLDivElement | null} */ (this.querySelector(".drawing"));
    if (!home) return;
    this.plan ??= new Drawing(home, { pick: (point) => this.#click({ place: [...point, this.height] }) });
    const { pairs, fit } = this.work;
    const marks = pairs.flatMap((each, index) => (each.place ? [{ at: each.place, label: String(index + 1), bad: fit?.left_out.includes(index) }] : []));
    this.plan.show(this.document, { selected: `camera:${this.camera}`, grid: 1, marks });
    for (const each of /** @type {NodeListOf<HTMLElement>} */ (this.querySelectorAll(".mark"))) {
      const [u, v] = pairs[Number(each.dataset.pair)]?.pixel ?? [0, 0];
      Object.assign(each.style, { left: `${(100 * u) / this.wh[0]}%`, top: `${(100 * v) / this.wh[1]}%` });
    }
  }

  /** @param {string} name */
  #choose(name) {
    this.#forget();
    this.camera = name;
    this.problem = "";
    this.lens = this.document.cameras?.[name]?.intrinsics ? "known" : "focal";
    void this.shot.load(name);
  }

  /** @param {Pair[]} pairs */
  #put(pairs) {
    works.set(this.camera, { pairs, fit: null });
    this.problem = "";
    if (this.drawn) URL.revokeObjectURL(this.drawn);
    this.drawn = "";
    this.requestUpdate();
  }

  /** A click completes the last pair, or begins one. @param {Partial<Pair>} clicked */
  #click(clicked) {
    const { pairs } = this.work;
    const last = pairs.at(-1);
    if (last && !(last.pixel && last.place)) this.#put([...pairs.slice(0, -1), { ...last, ...clicked }]);
    else this.#put([...pairs, { pixel: null, place: null, ...clicked }]);
  }

  /** @param {MouseEvent} event */
  #inPicture(event) {
    const box = /** @type {HTMLElement} */ (event.currentTarget).getBoundingClientRect();
    const share = [(event.clientX - box.left) / box.width, (event.clientY - box.top) / box.height];
    this.#click({ pixel: share.map((each, axis) => Math.round(each * this.wh[axis] * 10) / 10) });
  }

  async #fit() {
    const { complete, wh } = this;
    const m = this.entry?.intrinsics;
    const lens = this.lens === "known" && m ? { focal_px: [m[0][0], m[1][1]], centre_px: [m[0][2], m[1][2]], distortion: this.entry.distortion ?? [0, 0, 0, 0, 0] } : null;
    const points = complete.map((each) => ({ pixel: each.pixel, world_m: each.place }));
    await this.#try(async () => {
      const asked = { points, resolution_wh: wh, lens, bends: this.lens === "bends" };
      const fit = await send("POST", `/v1/cameras/${encodeURIComponent(this.camera)}/calibration`, asked);
      works.set(this.camera, { pairs: complete, fit });
      await this.#draw(withCamera(this.document, this.camera, fit.camera));
    });
  }

  /** @param {any} document */
  async #draw(document) {
    const answer = await request("POST", `/v1/cameras/${encodeURIComponent(this.camera)}/drawing`, { body: { document } });
    if (this.drawn) URL.revokeObjectURL(this.drawn);
    this.drawn = URL.createObjectURL(await answer.blob());
  }

  /** @param {() => Promise<void>} act */
  async #try(act) {
    if (this.busy) return;
    this.busy = true;
    this.problem = "";
    try {
      await act();
    } catch (error) {
      if (!(error instanceof Problem)) throw error;
      this.problem = error.text;
    } finally {
      this.busy = false;
    }
  }

  #take() {
    const { fit } = this.work;
    if (!fit) return;
    this.dispatchEvent(new CustomEvent("change-draft", { detail: { document: withCamera(this.document, this.camera, fit.camera), mark: "" } }));
    toast(t("calibrate.taken", { camera: this.camera }));
  }

  // Drawing it.

  get next() {
    const last = this.work.pairs.at(-1);
    if (last?.pixel && !last.place) return t("calibrate.now_plan");
    if (last?.place && !last.pixel) return t("calibrate.now_picture");
    const missing = this.enough - this.complete.length;
    return missing > 0 ? t("calibrate.missing", { n: missing }) : t("calibrate.enough");
  }

  /** @param {string} address */
  #picture(address) {
    const loaded = (/** @type {any} */ event) => (this.natural = [event.target.naturalWidth, event.target.naturalHeight]);
    return html`<div class="shot scroll-x ${this.large ? "large" : ""}" dir="ltr" tabindex="0"><div class="frame" data-test="shot" @click=${this.#inPicture}>
      <img src=${address} alt=${t("calibrate.picture_of", { camera: this.camera })} draggable="false" @load=${loaded} />
      ${this.work.pairs.map((each, index) => (each.pixel ? html`<span class="mark ${this.work.fit?.left_out.includes(index) ? "bad" : ""}" data-pair=${index} aria-hidden="true">${index + 1}</span>` : nothing))}</div></div>`;
  }

  /** @param {number} index @param {"pixel" | "place"} what @param {number} axis @param {string} label */
  #cell(index, what, axis, label) {
    const { pairs } = this.work;
    const value = pairs[index][what]?.[axis];
    const put = (/** @type {any} */ event) => {
      const typed = event.target.valueAsNumber;
      if (!Number.isFinite(typed)) return void (event.target.value = value ?? "");
      const before = pairs[index][what] ?? (what === "pixel" ? [0, 0] : [0, 0, this.height]);
      this.#put(pairs.map((each, at) => (at === index ? { ...each, [what]: before.map((own, place) => (place === axis ? typed : own)) } : each)));
    };
    return html`<td><input type="number" step="any" data-test="pair-${what}-${axis}" aria-label=${`${index + 1}: ${label}`} .value=${live(value === undefined ? "" : String(value))} @change=${put} /></td>`;
  }

  #pairs() {
    const { pairs, fit } = this.work;
    const heads = [t("calibrate.u"), t("calibrate.v"), t("field.x"), t("field.y"), t("field.z")];
    if (!pairs.length) return empty(t("calibrate.none"));
    return html`<div class="scroll-x" tabindex="0"><table class="points" data-test="pairs"><thead><tr><th scope="col">${t("draw.point")}</th>${heads.map((each) => html`<th scope="col">${each}</th>`)}<th scope="col">${t("calibrate.error")}</th><td></td></tr></thead>
      <tbody>${pairs.map((each, index) => html`<tr data-test="pair"><th scope="row">${index + 1}</th>
        ${[0, 1].map((axis) => this.#cell(index, "pixel", axis, heads[axis]))}${[0, 1, 2].map((axis) => this.#cell(index, "place", axis, heads[2 + axis]))}
        <td class="number" data-test="pair-error">${fit ? html`${number(fit.residuals_px[index], { maximumFractionDigits: 1 })}${fit.left_out.includes(index) ? html` <span class="badge bad">${t("calibrate.left_out")}</span>` : nothing}` : "–"}</td>
        <td><button class="button" data-test="pair-remove" aria-label=${`${t("draw.remove")}: ${index + 1}`} @click=${() => this.#put(pairs.toSpliced(index, 1))}>×</button></td></tr>`)}</tbody></table></div>`;
  }

  #result() {
    const { fit } = this.work;
    return html`${fit ? html`<div class="row spread"><p data-test="fit" data-rms=${fit.rms_px}><strong>${t("calibrate.fits", { px: Math.round(fit.rms_px * 100) / 100 })}</strong> ${fit.left_out.length ? t("calibrate.some_left_out", { n: fit.left_out.length }) : nothing}</p>
      <button class="button primary" data-test="take" @click=${this.#take}>${t("calibrate.take")}</button></div>` : nothing}
      ${this.drawn ? html`<figure><img class="fitted" data-test="fitted" src=${this.drawn} alt=${t("calibrate.drawn")} /><figcaption class="muted small">${t("calibrate.drawn")}</figcaption></figure>` : nothing}`;
  }

  render() {
    const { names } = this;
    if (!names.length) return empty(t("calibrate.no_camera"));
    const lenses = this.entry?.intrinsics ? ["known", "focal", "bends"] : ["focal", "bends"];
    return html`<div class="stack" data-test="calibration"><p class="muted">${t("calibrate.how")}</p>
      <div class="row ends"><div class="field"><label for="which">${t("field.camera")}</label><select id="which" data-test="which-camera" @change=${(/** @type {any} */ event) => this.#choose(event.target.value)}>${names.map((each) => html`<option value=${each} .selected=${live(each === this.camera)}>${each}</option>`)}</select></div>
        <div class="field"><label for="lens">${t("calibrate.lens")}</label><select id="lens" data-test="lens" @change=${(/** @type {any} */ event) => (this.lens = event.target.value)}>${lenses.map((each) => html`<option value=${each} .selected=${live(each === this.lens)}>${t(`lens.${each}`)}</option>`)}</select></div>
        <div class="field"><label for="at-height">${t("calibrate.height")}</label><input id="at-height" type="number" step="any" data-test="at-height" .value=${live(String(this.height))} @change=${(/** @type {any} */ event) => (this.height = event.target.valueAsNumber || 0)} /></div>
        <label class="row check"><input type="checkbox" data-test="large" .checked=${this.large} @change=${(/** @type {any} */ event) => (this.large = event.target.checked)} />${t("calibrate.large")}</label>
        <button class="button" data-test="new-picture" @click=${() => this.#choose(this.camera)}>${t("calibrate.new_picture")}</button></div>
      <p class="notice" role="status" data-test="next">${this.next}</p>
      <div class="both"><section class="card" aria-label=${t("calibrate.picture_of", { camera: this.camera })}>${this.shot.show((address) => this.#picture(address))}</section>
        <section class="card plan-card" aria-label=${t("draw.plan")}><div class="drawing" dir="ltr" data-test="drawing" aria-hidden="true"></div>${zooming(() => this.plan)}</section></div>
      ${this.#pairs()}
      <div class="row"><button class="button" data-test="add-pair" @click=${() => this.#put([...this.work.pairs, { pixel: [0, 0], place: [0, 0, this.height] }])}>${t("calibrate.add")}</button>
        <button class="button primary" data-test="fit-camera" ?disabled=${this.busy || this.complete.length < this.enough} @click=${this.#fit}>${t("calibrate.fit")}</button>
        ${this.entry?.intrinsics ? html`<button class="button" data-test="draw-draft" ?disabled=${this.busy} @click=${() => this.#try(() => this.#draw(this.document))}>${t("calibrate.draw_draft")}</button>` : nothing}</div>
      <div class="field"><p class="error" role="alert" dir="auto" data-test="fit-problem">${this.problem}</p></div>
      ${this.#result()}</div>`;
  }
}
customElements.define("layout-calibration", LayoutCalibration);
