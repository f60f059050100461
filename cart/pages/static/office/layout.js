/** The layout: one draft, drawn or as a document, cameras placed in it, checked and saved as a version. */
import { html, nothing } from "lit";
import { Problem, all, get, request, send } from "../common/api.js";
import { t } from "../common/i18n.js";
import { Loaded, View, attempt, confirmed, go, toast } from "../common/view.js";
import { applied, begun, isChanged, kept, redone, thingAt, undone } from "./editing.js";
import { Intention } from "../common/intention.js";
import { thingName } from "./words.js";
import "./calibration.js";
import "./editor.js";
import "./versions.js";

/** @typedef {import("./editing.js").History} History */
/** @typedef {"drawn" | "document" | "calibration"} Tab */
/** @typedef {"now" | "when_empty" | "later"} Wish */

const ASKS_EVERY_MS = 3000;
const TABS = /** @type {Tab[]} */ (["drawn", "document", "calibration"]);
/** What was not saved yet stays while somebody looks at another view. @type {{history: History, version: number, tag: string} | undefined} */
let unsaved;
window.addEventListener("signed", () => (unsaved = undefined));

/** The document's text; places and sizes, which are lists of numbers, stand on one line. @param {any} document */
function written(document) {
  return JSON.stringify(document, null, 2).replaceAll(/\[\n[\s\d.,eE+-]+\]/g, (list) => list.replaceAll(/\s+/g, " ").replace("[ ", "[").replace(" ]", "]"));
}

class OfficeLayout extends View {
  static properties = {
    tab: {}, history: { state: true }, version: { state: true }, flaws: { state: true }, problem: { state: true }, busy: { state: true },
    awaited: { state: true }, active: { state: true }, checked: { state: true },
  };
  newest = new Loaded(this, async () => {
    const answer = await request("GET", "/v1/layout");
    this.tag = answer.headers.get("etag") ?? "";
    const layout = await answer.json();
    this.active = layout.active_version;
    if (!this.history && unsaved) ({ history: this.history, version: this.version, tag: this.tag } = unsaved);
    else if (!this.history) [this.history, this.version] = [begun(layout.document), layout.version];
    return layout;
  });
  versions = new Loaded(this, () => all("/v1/layout/versions?limit=100", 500));
  cameras = new Loaded(this, async () => (await get("/v1/cameras")).items);

  constructor() {
    super();
    this.tab = "";
    this.tag = "";
    this.problem = "";
    this.busy = false;
    /** @type {History | undefined} */
    this.history = undefined;
    /** Which version the draft was taken from. */
    this.version = 0;
    /** @type {{place: (string | number)[], message: string}[]} What the store objects to. */
    this.flaws = [];
    this.checked = false;
    /** @type {number | undefined} */
    this.active = undefined;
    /** @type {number | undefined} Which version counts when nobody is inside any more. */
    this.awaited = undefined;
    this.intention = new Intention();
  }

  connectedCallback() {
    super.connectedCallback();
    void this.#load();
    void this.cameras.load();
    this.timer = setInterval(() => void this.#look(), ASKS_EVERY_MS);
    window.addEventListener("keydown", this.#key);
    window.addEventListener("beforeunload", this.#leaving);
  }

  disconnectedCallback() {
    super.disconnectedCallback();
    clearInterval(this.timer);
    window.removeEventListener("keydown", this.#key);
    window.removeEventListener("beforeunload", this.#leaving);
  }

  async #load() {
    await Promise.all([this.newest.load(), this.versions.load()]);
  }

  /** See whether the floor has changed over. */
  async #look() {
    if (this.awaited === undefined || document.hidden) return;
    try {
      this.active = (await get(`/v1/layout/versions/${this.awaited}`)).active_version;
    } catch (error) {
      if (!(error instanceof Problem)) throw error; // else it is asked again soon
    }
    if (this.active === this.awaited) this.awaited = undefined;
  }

  /** @returns {Tab} */
  get shown() {
    return TABS.find((each) => each === this.tab) ?? "drawn";
  }

  get area() {
    return /** @type {HTMLTextAreaElement | null} */ (this.querySelector("#document"));
  }

  // The draft.

  /** @param {History} history */
  #become(history) {
    if (history === this.history) return;
    this.history = history;
    this.#remember(history);
    // What was objected to may be put right by now, or may stand elsewhere; the next check tells.
    this.flaws = [];
    this.checked = false;
    this.problem = "";
  }

  /** @param {History} history */
  #remember(history) {
    unsaved = isChanged(history) ? { history, version: this.version, tag: this.tag } : undefined;
  }

  /** @param {CustomEvent<{document: any, mark: string}>} event */
  #changed(event) {
    if (this.history) this.#become(applied(this.history, event.detail.document, event.detail.mark));
  }

  /** @param {(history: History) => History} step */
  #step(step) {
    if (!this.history || !this.#tookText()) return;
    this.#become(step(this.history));
    this.#writeText();
  }

  /** @param {KeyboardEvent} event */
  #key = (event) => {
    const target = /** @type {HTMLElement} */ (event.target);
    // A field has an undo of its own.
    if (!(event.ctrlKey || event.metaKey) || target.closest("input:not([type=checkbox]), textarea, dialog")) return;
    const key = event.key.toLowerCase();
    if (key !== "z" && key !== "y") return;
    event.preventDefault();
    this.#step(key === "y" || event.shiftKey ? redone : undone);
  };

  /** @param {BeforeUnloadEvent} event */
  #leaving = (event) => {
    if (this.history && (isChanged(this.history) || this.#hasText())) event.preventDefault();
  };

  #hasText() {
    return Boolean(this.area && this.history && this.area.value !== written(this.history.present));
  }

  /** Take what was typed into the document over into the draft. Whether that could be done; else it is told why not. */
  #tookText() {
    if (!this.area || !this.history || !this.#hasText()) return true;
    const document = this.#parsed(this.area);
    if (document === null) return false;
    this.#become(applied(this.history, document));
    this.#writeText();
    return true;
  }

  #writeText() {
    if (this.area && this.history) this.area.value = written(this.history.present);
  }

  /** What the document's text says; null if it is no JSON object, which is told. @param {HTMLTextAreaElement} area */
  #parsed(area) {
    try {
      const found = JSON.parse(area.value);
      if (found !== null && typeof found === "object" && !Array.isArray(found)) return found;
      this.problem = t("layout.no_object");
    } catch (error) {
      const said = error instanceof Error ? error.message : String(error);
      this.problem = t("layout.no_json", { problem: said });
      const at = /position (\d+)/.exec(said);
      if (at) area.setSelectionRange(Number(at[1]), Number(at[1]) + 1);
    }
    area.focus();
    return null;
  }

  /** @param {Map<string, any>} changed */
  willUpdate(changed) {
    // Going to another view of the draft takes the text along; what is no document yet stays where it can be put right.
    if (changed.has("tab") && this.area && this.shown !== "document" && !this.#tookText()) {
      this.tab = "document";
      history.replaceState(null, "", "#/layout/document");
    }
  }

  // Checking and saving.

  /** Ask the store what it objects to; whether it is nothing. */
  async #check() {
    if (!this.history) return false;
    const { items } = await send("POST", "/v1/layout/check", { document: this.history.present });
    this.flaws = items;
    this.checked = true;
    return items.length === 0;
  }

  async #checkNow() {
    if (this.busy || !this.#tookText()) return;
    this.busy = true;
    await attempt(() => this.#check());
    this.busy = false;
  }

  /** @param {number} version @param {"now" | "when_empty"} wish @param {string} [key] */
  async #changeOver(version, wish, key) {
    const told = await send("POST", `/v1/layout/versions/${version}/apply`, { when: wish }, key ? { key } : {});
    this.active = told.active_version;
    this.awaited = this.active === version ? undefined : version;
  }

  /** @param {SubmitEvent} event */
  async #submit(event) {
    event.preventDefault();
    const form = /** @type {HTMLFormElement} */ (event.target);
    const fields = new FormData(form);
    if (this.busy || !this.#tookText()) return;
    const wish = /** @type {Wish} */ (String(fields.get("apply")));
    if (wish === "now" && !(await this.#sure())) return;
    if (await this.#save(String(fields.get("note")).trim(), wish)) form.reset();
  }

  /** @param {string} note @param {Wish} wish @returns {Promise<boolean>} Whether it is saved, and applied if that was wished. */
  async #save(note, wish) {
    if (!this.history) return false;
    const document = this.history.present;
    const { intention } = this;
    this.problem = "";
    this.busy = true;
    let done = false;
    try {
      if (!(await this.#check())) return false;
      // Kept first and applied then: where the floor refuses a version, it is kept all the same.
      const saved = await intention.once("save", [document, note], (key) =>
        send("PUT", "/v1/layout", { document, note, apply: "later" }, { key, headers: { "if-match": this.tag } }));
      this.version = saved.version;
      this.history = kept(this.history, document);
      this.#remember(this.history);
      if (wish !== "later") await intention.once("apply", [saved.version, wish], (key) => this.#changeOver(saved.version, wish, key));
      this.intention = new Intention();
      toast(t("saved"));
      done = true;
    } catch (error) {
      if (!(error instanceof Problem)) throw error;
      const places = error.errors.map((each) => `${each.where}: ${each.problem}`);
      this.problem = error.status === 412 ? t("layout.changed") : [error.text, ...places].join("\n");
    } finally {
      this.busy = false;
    }
    await this.#load();
    return done;
  }

  #sure() {
    const word = `${t("layout.apply")}: ${t("layout.now")}`;
    return confirmed(word, t("layout.now.more"), word);
  }

  // What is wished of a version.

  /** @param {CustomEvent<{name: string, version: any, wish?: "now" | "when_empty"}>} event */
  async #wished({ detail: { name, version, wish } }) {
    if (this.busy) return;
    if (name === "apply" && wish) await this.#apply(version, wish);
    else if (name === "open") await this.#open(version);
    else await this.#restore(version);
  }

  /** @param {any} each @param {"now" | "when_empty"} wish */
  async #apply(each, wish) {
    if (wish === "now" && !(await this.#sure())) return;
    this.busy = true;
    await attempt(() => this.#changeOver(each.version, wish));
    this.busy = false;
    await this.versions.load();
  }

  /** Make a version the draft; what was the draft is one undo away. @param {any} each @returns {Promise<boolean>} */
  async #open(each) {
    const isLost = this.history && (isChanged(this.history) || this.#hasText());
    if (isLost && !(await confirmed(t("layout.discard"), t("layout.discard.more"), t("layout.discard")))) return false;
    const found = await attempt(() => get(`/v1/layout/versions/${each.version}`));
    if (!found || !this.history) return false;
    this.version = found.version;
    this.#become(kept(applied(this.history, found.document), found.document));
    this.#writeText();
    return true;
  }

  /** Save a version of before anew, on top of all others. @param {any} each */
  async #restore(each) {
    const name = t("layout.version", { n: each.version });
    if (!(await confirmed(`${t("layout.restore")}: ${name}`, t("layout.restore.more"), t("layout.restore")))) return;
    if (await this.#open(each)) await this.#save(t("layout.restored", { n: each.version }), "later");
  }

  // Drawing it.

  /** @param {string} id */
  async #goTo(id) {
    if (this.shown !== "drawn") {
      go("#/layout/drawn");
      await new Promise((resolve) => window.addEventListener("hashchange", () => setTimeout(resolve), { once: true }));
      await this.updateComplete;
    }
    await /** @type {any} */ (this.querySelector("layout-editor"))?.choose(id);
  }

  /** @param {History} history */
  #objections(history) {
    if (!this.flaws.length) return this.checked ? html`<p class="notice good" role="status" data-test="no-objections">${t("layout.good")}</p>` : nothing;
    return html`<div class="notice bad" role="alert" data-test="objections"><p><strong>${t("layout.objections", { n: this.flaws.length })}</strong></p>
      <ul class="told">${this.flaws.map((each) => {
        const id = thingAt(history.present, each.place);
        return html`<li data-test="objection" data-thing=${id}>${id ? html`<button class="button" data-test="to-objection" @click=${() => this.#goTo(id)}>${thingName(history.present, id)}</button> ` : nothing}<span dir="auto">${each.message}</span></li>`;
      })}</ul></div>`;
  }

  /** @param {History} history */
  #bar(history) {
    const act = (/** @type {string} */ key, /** @type {boolean} */ works, /** @type {() => void} */ what) => html`<button class="button" data-test=${key} ?disabled=${!works} @click=${what}>${t(key)}</button>`;
    return html`<div class="row"><nav class="row" aria-label=${t("layout.ways")}>${TABS.map((each) => html`<a class="button plain" href="#/layout/${each}" aria-current=${each === this.shown ? "page" : "false"} data-test="tab-${each}">${t(`layout.tab_${each}`)}</a>`)}</nav>
      <span class="grow"></span>
      <span role="status">${isChanged(history) ? html`<span class="badge warn" data-test="unsaved">${t("layout.unsaved")}</span>` : html`<span class="muted small" data-test="all-saved">${t("layout.from", { n: this.version })}</span>`}</span>
      ${act("layout.undo", history.past.length > 0, () => this.#step(undone))}${act("layout.redo", history.future.length > 0, () => this.#step(redone))}
      ${act("layout.check", !this.busy, () => this.#checkNow())}</div>`;
  }

  #saving() {
    return html`<form class="card" data-test="layout-form" aria-busy=${this.busy} @submit=${this.#submit}><h2>${t("layout.save")}</h2>
      <div class="row ends"><div class="field grow"><label for="note">${t("layout.note")}</label><input id="note" name="note" maxlength="200" data-test="layout-note" /></div>
        <div class="field"><label for="apply">${t("layout.apply")}</label><select id="apply" name="apply" data-test="layout-apply">
          ${["later", "when_empty", "now"].map((each) => html`<option value=${each}>${t(`layout.${each}`)}</option>`)}</select></div>
        <button class="button primary" data-test="layout-save" ?disabled=${this.busy}>${t(this.busy ? "saving" : "save")}</button></div>
      <div class="field"><p id="document-problem" class="error" role="alert" dir="auto" data-test="document-problem">${this.problem}</p></div></form>`;
  }

  /** @param {History} history */
  #way(history) {
    const { present } = history;
    if (this.shown === "document") return html`<div class="card field"><label for="document">${t("layout.document", { n: this.version })}</label><p class="muted small">${t("layout.plain")}</p>
      <textarea id="document" class="document" dir="ltr" spellcheck="false" autocomplete="off" required aria-invalid=${this.problem ? "true" : "false"} aria-describedby="document-problem" data-test="document" .defaultValue=${written(present)}></textarea></div>`;
    const cameras = this.cameras.value ?? [];
    if (this.shown === "calibration") return html`<layout-calibration .document=${present} .cameras=${cameras} @change-draft=${this.#changed}></layout-calibration>`;
    return html`<layout-editor .document=${present} .flaws=${this.flaws} .cameras=${cameras} @change-draft=${this.#changed}></layout-editor>`;
  }

  render() {
    return html`<div class="stack" data-test="layout">${this.newest.show(() => this.history ? html`${this.#bar(this.history)}${this.#objections(this.history)}${this.#way(this.history)}${this.#saving()}` : nothing)}
      <h2>${t("layout.versions")}</h2>
      ${this.versions.show((items) => html`<layout-versions .items=${items} .draft=${this.history?.present ?? {}} .active=${this.active} .awaited=${this.awaited} .busy=${this.busy} @wish=${this.#wished}></layout-versions>`)}</div>`;
  }
}
customElements.define("office-layout", OfficeLayout);
