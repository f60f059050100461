/** A gondola as somebody sees it who stands before it: its shelves, bins and plates, to scale. */
import { html, nothing } from "lit";
import { t } from "../common/i18n.js";
import { View } from "../common/view.js";
import { entryOf, extentOf, membersOf, parts } from "./editing.js";
import { boxOf, within } from "./geometry.js";

class GondolaFront extends View {
  static properties = { document: {}, gondola: {}, selected: {}, names: {}, flawed: {} };

  constructor() {
    super();
    /** @type {any} */
    this.document = {};
    this.gondola = 0;
    this.selected = "";
    /** @type {(sku: string) => string} */
    this.names = (sku) => sku;
    /** @type {Set<string>} */
    this.flawed = new Set();
  }

  get frame() {
    return extentOf(this.document, `gondola:${this.gondola}`);
  }

  updated() {
    const { frame } = this;
    const home = /** @type {HTMLElement | null} */ (this.querySelector(".front"));
    if (!frame || !home) return;
    const [wide, , tall] = frame.size;
    home.style.aspectRatio = String(Math.max(0.6, Math.min(5, wide / tall)));
    // The page's policy lets a script place things, but no attribute.
    for (const each of /** @type {NodeListOf<HTMLElement>} */ (home.querySelectorAll("[data-id]"))) {
      const box = boxOf(entryOf(this.document, each.dataset.id ?? ""));
      if (!box) continue;
      const { corner: [x, , z], size } = within(box, frame);
      const share = (/** @type {number} */ part, /** @type {number} */ of) => `${(100 * part) / of}%`;
      Object.assign(each.style, { left: share(x, wide), bottom: share(z, tall), width: share(size[0], wide), height: each.dataset.plate ? "6px" : share(size[2], tall) });
    }
  }

  /** @param {string} id */
  #slot(id) {
    const entry = entryOf(this.document, id);
    const product = entry.sku ? this.names(entry.sku) : t("draw.no_product");
    const choose = () => this.dispatchEvent(new CustomEvent("choose", { detail: id }));
    return html`<button class="slot ${this.flawed.has(id) ? "flawed" : ""}" data-test="slot" data-id=${id} data-bin=${entry.bin} aria-pressed=${id === this.selected} @click=${choose}>
      <span dir="auto">${product}</span><span class="mono small">${entry.bin}${entry.capacity ? html` · ${t("draw.most", { n: entry.capacity })}` : nothing}</span></button>`;
  }

  render() {
    if (!this.frame) return nothing;
    const own = membersOf(this.document, this.gondola).filter((id) => boxOf(entryOf(this.document, id)));
    const bins = own.filter((id) => parts(id).kind === "bin");
    const plates = own.filter((id) => parts(id).kind === "plate");
    return html`<div class="front" dir="ltr" role="group" aria-label=${t("draw.front", { name: String(this.gondola) })} data-test="front">
      ${bins.map((id) => this.#slot(id))}${plates.map((id) => html`<span class="plate" data-id=${id} data-plate="1" aria-hidden="true"></span>`)}</div>`;
  }
}
customElements.define("gondola-front", GondolaFront);
