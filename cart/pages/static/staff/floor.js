/** The live floor: the plan with people on it, the same people as a list, and what happened. */
import { html, nothing } from "lit";
import { Stream, get } from "../common/api.js";
import { percent, t } from "../common/i18n.js";
import { Loaded, View, empty } from "../common/view.js";
import "./cart.js";
import { clock } from "./format.js";
import { Plan } from "./plan.js";
import { mayVisits } from "./roles.js";

/** @typedef {import("./plan.js").Person} Person */
/** @typedef {{id: string, at: string, kind: "pick" | "put_back", bin_id: string, sku: string | null, name: string, quantity: number, probability: number, session_id: string | null}} Happening */

const MOST_HAPPENINGS = 100;
const GONE_AFTER_MS = 4000;
const SPOKEN_EVERY_MS = 5000;
const LAYOUT_EVERY_MS = 30_000;

class StaffFloor extends View {
  static properties = { role: {}, state: { state: true }, selected: { state: true }, pointed: { state: true } };

  constructor() {
    super();
    this.role = "";
    /** @type {"open" | "lost" | "ended" | ""} */
    this.state = "";
    this.selected = "";
    /** @type {Person | undefined} The chosen person as last seen: their cart stays when they have left. */
    this.chosen = undefined;
    this.pointed = "";
    this.floor = new Loaded(this, () => get("/v1/floor"));
    /** @type {Plan | undefined} */
    this.plan = undefined;
    /** @type {Map<string, {person: Person, left: number}>} In the order of coming, so that rows stay where they are. */
    this.people = new Map();
    /** @type {Happening[]} */
    this.happened = [];
    /** @type {Happening[]} Wait until nobody looks at the list. */
    this.held = [];
    this.latency = 0;
    this.spoken = "";
    this.spokenAt = 0;
    this.looking = false;
    /** @type {string | undefined} What the plan shows: the layout's version, and the language. */
    this.shown = undefined;
    /** @type {import("../common/api.js").Problem | undefined} */
    this.problem = undefined;
  }

  connectedCallback() {
    super.connectedCallback();
    void this.floor.load();
    // The layout may be changed while one looks.
    this.timer = setInterval(() => void this.floor.load(), LAYOUT_EVERY_MS);
    this.stream = new Stream("/v1/floor/events", (_, data) => this.#hear(data), (state, problem) => {
      this.state = state;
      this.problem = problem;
      // The layout may have changed while nobody heard of it.
      if (state === "open" && this.floor.value) void this.floor.load();
    });
  }

  disconnectedCallback() {
    super.disconnectedCallback();
    clearInterval(this.timer);
    this.stream?.close();
    this.plan?.close();
    this.plan = undefined;
  }

  /** @param {{at: string, latency_s: number, people: Person[], happened: Happening[], version?: string}} told */
  #hear(told) {
    if (!told.people) return;
    const now = Date.now();
    const here = new Set(told.people.map((each) => each.identity_id));
    for (const person of told.people) this.people.set(person.identity_id, { person, left: 0 });
    for (const [id, each] of this.people) {
      if (here.has(id)) continue;
      each.left ||= now;
      if (now - each.left > GONE_AFTER_MS && !this.looking) this.people.delete(id);
    }
    this.latency = told.latency_s;
    this.plan?.set(told.people);
    this.#keepChosen();
    if (told.happened.length) this.#happen(told.happened, now);
    this.requestUpdate();
  }

  #keepChosen() {
    const now = this.people.get(this.selected)?.person;
    if (!now) return;
    // A store that was started anew counts people anew; this is somebody else.
    if (this.chosen?.session_id && this.chosen.session_id !== now.session_id) {
      this.selected = "";
      this.plan?.select("");
    } else this.chosen = now;
  }

  /** @param {Happening[]} news @param {number} now */
  #happen(news, now) {
    const known = new Set([...this.happened, ...this.held].map((each) => each.id));
    const fresh = news.filter((each) => !known.has(each.id)).reverse();
    const list = this.querySelector(".happened");
    if (this.looking || (list && list.scrollTop > 4)) this.held = [...fresh, ...this.held];
    else this.happened = [...fresh, ...this.held.splice(0), ...this.happened].slice(0, MOST_HAPPENINGS);
    if (fresh.length && now - this.spokenAt > SPOKEN_EVERY_MS) {
      this.spoken = this.#words(fresh[0]);
      this.spokenAt = now;
    }
  }

  /** @param {Happening} each */
  #words(each) {
    return t(`happened.${each.kind}`, { quantity: Math.abs(each.quantity), name: each.name || each.sku || t("answer.unknown") });
  }

  #release() {
    this.happened = [...this.held.splice(0), ...this.happened].slice(0, MOST_HAPPENINGS);
    const list = this.querySelector(".happened");
    if (list) list.scrollTop = 0;
    this.requestUpdate();
  }

  /** @param {Person} person */
  #choose(person) {
    this.selected = person.identity_id;
    this.chosen = person;
    this.plan?.select(person.identity_id);
  }

  updated() {
    const home = /** @type {HTMLDivElement | null} */ (this.querySelector(".plan"));
    if (!home || !this.floor.value) return;
    if (!this.plan) {
      this.plan = new Plan(home, (person) => this.#choose(person), (text) => (this.pointed = text));
      this.shown = undefined;
    }
    const drawn = `${this.floor.value.version} ${document.documentElement.lang}`;
    if (this.shown !== drawn) this.plan.show(this.floor.value);
    this.shown = drawn;
  }

  render() {
    const inside = [...this.people.values()].filter((each) => !each.left).length;
    return html`<div class="view floor">
      <div class="row spread">
        <h1>${t("nav.floor")}</h1>
        <p class="row small" role="status">
          <span class="numbers" data-test="inside">${t("floor.inside", { n: inside })}</span>
          ${this.state === "lost" || this.state === "ended"
            ? html`<span class="badge warn" data-test="lost">${this.problem?.text ?? t("connection.lost")}</span>`
            : html`<span class="badge numbers" aria-hidden="true" data-test="latency">${t("floor.latency", { ms: Math.round(this.latency * 1000) })}</span>`}
        </p>
      </div>
      <p class="visually-hidden" aria-live="polite" data-test="spoken">${this.spoken}</p>
      <div class="floor-grid">
        <section class="card plan-card" aria-label=${t("floor.plan")}>
          ${this.floor.show(() => html`<div class="plan" dir="ltr" data-test="plan" aria-hidden="true"></div>`)}
          <p class="small muted pointed" dir="auto" data-test="pointed">${this.pointed || t("floor.hint")}</p>
        </section>
        <section class="card" aria-labelledby="chosen" data-test="chosen">
          <h2 id="chosen">${this.chosen ? t("floor.cart_of", { label: this.chosen.label }) : t("visit.cart")}</h2>
          ${!this.chosen
            ? html`<p class="muted">${t("floor.choose")}</p>`
            : !mayVisits(this.role) || !this.chosen.session_id
              ? html`<p class="muted">${t(mayVisits(this.role) ? "floor.no_visit" : "floor.not_yours")}</p>`
              : html`<live-cart .visit=${this.chosen.session_id}></live-cart><p><a href="#/visits/${this.chosen.session_id}">${t("reviews.whole_visit")}</a></p>`}
        </section>
        <section class="card" aria-labelledby="people" @pointerenter=${() => (this.looking = true)} @pointerleave=${() => (this.looking = false)}>
          <h2 id="people">${t("floor.people")}</h2>
          <ul class="people scroll-y" data-test="people">
            ${this.people.size ? nothing : html`<li>${empty(t("visits.nobody"))}</li>`}
            ${[...this.people.values()].map(
              ({ person, left }) =>
                html`<li>
                  <button class="button person" aria-pressed=${person.identity_id === this.selected} data-test="person" data-visit=${person.session_id ?? ""} ?disabled=${left > 0} @click=${() => this.#choose(person)}>
                    <bdi class="mono">${person.label}</bdi>
                    <span class="numbers grow">${left ? t("floor.gone") : t("floor.units", { n: person.units })}</span>
                    ${person.flagged ? html`<span class="badge warn">${t("floor.flagged")}</span>` : nothing}
                  </button>
                </li>`,
            )}
          </ul>
        </section>
        <section class="card" aria-labelledby="happened" @pointerenter=${() => (this.looking = true)} @pointerleave=${() => ((this.looking = false), this.#release())}>
          <div class="row spread"><h2 id="happened">${t("floor.happened")}</h2>
            <button class="button small" data-test="happened-new" ?hidden=${!this.held.length} @click=${() => this.#release()}>${t("floor.new", { n: this.held.length })}</button></div>
          <ol class="happened scroll-y" tabindex="0" aria-labelledby="happened" data-test="happened">
            ${this.happened.length ? nothing : html`<li class="muted">${t("floor.nothing_yet")}</li>`}
            ${this.happened.map(
              (each) =>
                html`<li data-test="happening"><time class="numbers muted small" datetime=${each.at}>${clock(each.at)}</time> <span class="grow" dir="auto">${this.#words(each)}</span>
                  <span class="badge numbers ${each.probability < 0.9 ? "warn" : ""}">${percent(each.probability)}</span></li>`,
            )}
          </ol>
        </section>
      </div>
    </div>`;
  }
}
customElements.define("staff-floor", StaffFloor);
