/** The layout's versions: which one counts, opening and restoring one, and what is different between two. */
import { html, nothing } from "lit";
import { live } from "lit/directives/live.js";
import { get } from "../common/api.js";
import { t, when } from "../common/i18n.js";
import { Loaded, View, empty } from "../common/view.js";
import { differences } from "./differences.js";
import { told } from "./words.js";

const DRAFT = "draft";

class LayoutVersionList extends View {
  static properties = { items: {}, draft: {}, active: {}, awaited: {}, busy: {}, from: { state: true }, to: { state: true } };
  compared = new Loaded(this, async (from, to) => {
    const [before, after] = await Promise.all([from, to].map((each) => this.#document(each)));
    return differences(before, after);
  });

  constructor() {
    super();
    /** @type {any[]} */
    this.items = [];
    /** @type {any} */
    this.draft = {};
    /** @type {number | undefined} */
    this.active = undefined;
    /** @type {number | undefined} */
    this.awaited = undefined;
    this.busy = false;
    this.from = "";
    this.to = DRAFT;
    /** @type {Map<string, any>} Versions never change. */
    this.documents = new Map();
  }

  /** @param {string} which */
  async #document(which) {
    if (which === DRAFT) return this.draft;
    if (!this.documents.has(which)) this.documents.set(which, (await get(`/v1/layout/versions/${which}`)).document);
    return this.documents.get(which);
  }

  /** @param {Map<string, any>} changed */
  willUpdate(changed) {
    if (this.from && this.to === DRAFT && changed.has("draft")) void this.compared.load(this.from, this.to);
  }

  /** @param {string} from @param {string} to */
  #compare(from, to) {
    [this.from, this.to] = [from, to];
    void this.compared.load(from, to);
  }

  /** @param {string} name @param {any} version @param {any} [more] */
  #wish(name, version, more = {}) {
    this.dispatchEvent(new CustomEvent("wish", { detail: { name, version, ...more } }));
  }

  /** @param {any} each */
  #row(each) {
    const name = t("layout.version", { n: each.version });
    const act = (/** @type {string} */ key, /** @type {string} */ word, /** @type {() => void} */ what) =>
      html`<button class="button" data-test=${key} ?disabled=${this.busy} aria-label=${`${word}: ${name}`} @click=${what}>${word}</button>`;
    const wished = (/** @type {"now" | "when_empty"} */ wish) => act(`layout.${wish}`, `${t("layout.apply")}: ${t(`layout.${wish}`)}`, () => this.#wish("apply", each, { wish }));
    return html`<li class="card" data-test="version" data-version=${each.version}><div class="row"><strong>${name}</strong>
        ${each.version === this.active ? html`<span class="badge good">${t("layout.active")}</span>` : nothing}
        ${each.version === this.awaited ? html`<span class="badge info">${t("layout.awaited")}</span>` : nothing}
        <span class="muted">${each.created_at ? when(each.created_at) : nothing}</span></div>
      ${each.note ? html`<p dir="auto">${each.note}</p>` : nothing}
      <div class="row">${act("layout.open", t("layout.open"), () => this.#wish("open", each))}
        ${act("layout.compare", t("layout.compare"), () => this.#compare(String(each.version), DRAFT))}
        ${act("layout.restore", t("layout.restore"), () => this.#wish("restore", each))}
        ${each.version === this.active ? nothing : html`${wished("when_empty")}${wished("now")}`}</div></li>`;
  }

  #comparison() {
    if (!this.from) return nothing;
    const choice = (/** @type {"from" | "to"} */ side) => html`<div class="field"><label for="c-${side}">${t(`layout.compare_${side}`)}</label>
      <select id="c-${side}" data-test="compare-${side}" @change=${(/** @type {any} */ event) => this.#compare(side === "from" ? event.target.value : this.from, side === "to" ? event.target.value : this.to)}>
        ${[DRAFT, ...this.items.map((each) => String(each.version))].map((each) => html`<option value=${each} .selected=${live(each === this[side])}>${each === DRAFT ? t("layout.draft") : t("layout.version", { n: Number(each) })}</option>`)}</select></div>`;
    return html`<section class="card" aria-labelledby="differences" data-test="comparison"><h3 id="differences">${t("layout.differences")}</h3><div class="row">${choice("from")}${choice("to")}</div>
      ${this.compared.show((found) => found.length ? html`<ul class="told" data-test="differences">${found.map((each) => html`<li dir="auto" data-test="difference" data-key=${each.key}>${told(each)}</li>`)}</ul>` : html`<p data-test="no-differences">${t("layout.same")}</p>`)}</section>`;
  }

  render() {
    return html`${this.#comparison()}${this.items.length ? html`<ul class="stack">${this.items.map((each) => this.#row(each))}</ul>` : empty(t("nothing"))}`;
  }
}
customElements.define("layout-versions", LayoutVersionList);
