/** The store's figures over a period that is chosen: charts, and every number in a table below them. */
import { html, nothing } from "lit";
import uPlot from "uplot";
import { get } from "../common/api.js";
import { money, number, percent, t, when } from "../common/i18n.js";
import { theStore } from "../common/session.js";
import { Loaded, View } from "../common/view.js";
import { localIn, momentIn } from "./amounts.js";

const DAY_MS = 86_400_000;
/** How far back each choice reaches, days, and how long a period of it is. @type {Record<string, [number, "hour" | "day"]>} */
const PERIODS = { day: [1, "hour"], week: [7, "day"], fortnight: [14, "day"], month: [30, "day"], quarter: [91, "day"] };
/** Steps between the marks of what is counted in whole numbers. */
const WHOLE = [1, 10, 100, 1000, 10_000, 100_000].flatMap((power) => [power, 2 * power, 5 * power]);
/** The longest that is shown by the hour, days. */
const MOST_HOURLY = 4;

/** @param {number} part @param {number} of @returns {number | null} */
function share(part, of) {
  return of ? part / of : null;
}

/** @param {any} each */
function reviewRate(each) {
  return share(each.reviewed + each.waiting, each.visits);
}

/** @param {any} each */
function wrongRate(each) {
  return share(each.corrected, each.charged);
}

/** @typedef {{name: string, lines: [name: string, colour: string, of: (each: any) => number | null][], shown: (value: number, currency: string) => string}} Chart */
/** What is drawn: each chart's lines, with what each shows of a period, and how. @type {Chart[]} */
const CHARTS = [
  { name: "takings", lines: [["takings", "--accent", (each) => each.takings_minor]], shown: money },
  { name: "rates", lines: [["review_rate", "--info", reviewRate], ["wrong_rate", "--bad", wrongRate]], shown: (value) => percent(value) },
  { name: "shrink", lines: [["shrink", "--warn", (each) => each.shrink_units]], shown: (value) => number(value) },
];

class OfficeFigures extends View {
  static properties = { period: { state: true } };
  store = new Loaded(this, theStore);
  figures = new Loaded(this, async (/** @type {string} */ from, /** @type {string} */ to, /** @type {"hour" | "day"} */ by) => ({
    by,
    ...(await get(`/v1/statistics?${new URLSearchParams({ by, from, to })}`)),
  }));
  dark = matchMedia("(prefers-color-scheme: dark)");
  resized = new ResizeObserver(() => this.#draw());
  /** @type {uPlot[]} */
  charts = [];

  constructor() {
    super();
    this.period = "fortnight";
  }

  #again = () => this.requestUpdate();

  connectedCallback() {
    super.connectedCallback();
    this.dark.addEventListener("change", this.#again);
    this.resized.observe(this);
    void this.store.load();
    this.#choose(this.period);
  }

  disconnectedCallback() {
    super.disconnectedCallback();
    this.dark.removeEventListener("change", this.#again);
    this.resized.disconnect();
    this.#clear();
  }

  updated() {
    this.#draw();
  }

  #clear() {
    for (const each of this.charts) each.destroy();
    this.charts = [];
  }

  #draw() {
    this.#clear();
    const told = this.figures.value;
    if (!told) return;
    for (const chart of CHARTS) {
      const place = /** @type {HTMLElement | null} */ (this.querySelector(`[data-chart=${chart.name}]`));
      if (place && place.clientWidth > 0) this.charts.push(this.#chart(place, chart, told));
    }
  }

  /** @param {HTMLElement} place @param {Chart} chart @param {any} told */
  #chart(place, chart, told) {
    const style = getComputedStyle(this);
    const colour = (/** @type {string} */ token) => style.getPropertyValue(token).trim();
    const axis = { stroke: colour("--ink-2"), grid: { stroke: colour("--line") }, ticks: { stroke: colour("--line") } };
    const options = /** @type {Intl.DateTimeFormatOptions} */ (told.by === "hour" ? { hour: "2-digit", minute: "2-digit" } : { day: "numeric", month: "short" });
    const timeZone = this.store.value?.time_zone;
    const values = chart.lines.map(([, , of]) => told.items.map(of));
    const top = Math.max(...values.flat().map(Number)) || 1;
    return new uPlot(
      {
        width: place.clientWidth,
        height: 224,
        legend: { show: false },
        cursor: { show: false },
        padding: [null, 28, null, null],
        scales: { y: { range: [0, top * 1.05] } },
        axes: [
          { ...axis, size: 32, values: (_, splits) => splits.map((at_s) => when(new Date(at_s * 1000), { ...options, timeZone })) },
          { ...axis, size: 90, values: (_, splits) => splits.map((value) => chart.shown(value, told.currency)), ...(chart.name === "shrink" ? { incrs: WHOLE } : {}) },
        ],
        series: [{}, ...chart.lines.map(([, token]) => ({ stroke: colour(token), width: 2, spanGaps: true, points: { show: told.items.length < 40 } }))],
      },
      [told.items.map((/** @type {any} */ each) => Date.parse(each.start) / 1000), ...values],
      place,
    );
  }

  /** @param {string} period */
  #choose(period) {
    this.period = period;
    if (!(period in PERIODS)) return;
    const [days, by] = PERIODS[period];
    const now = Date.now();
    void this.figures.load(new Date(now - days * DAY_MS).toISOString(), new Date(now).toISOString(), by);
  }

  /** @param {SubmitEvent} event */
  #between(event) {
    event.preventDefault();
    const form = new FormData(/** @type {HTMLFormElement} */ (event.target));
    const zone = this.store.value?.time_zone ?? "UTC";
    const from = momentIn(`${form.get("from")}T00:00`, zone);
    // The last day counts as a whole.
    const last = new Date(`${form.get("to")}T00:00Z`);
    const to = momentIn(new Date(last.getTime() + DAY_MS).toISOString().slice(0, 16), zone);
    const by = Date.parse(to) - Date.parse(from) <= MOST_HOURLY * DAY_MS ? "hour" : "day";
    void this.figures.load(from, to, by);
  }

  #dates() {
    const zone = this.store.value?.time_zone ?? "UTC";
    const today = localIn(new Date().toISOString(), zone).slice(0, 10);
    return html`<form class="row" data-test="period-form" @submit=${this.#between}>
      ${["from", "to"].map((name) => html`<div class="field"><label for="period-${name}">${t(`figures.${name}`)}</label><input id="period-${name}" name=${name} type="date" required max=${today} .defaultValue=${today} data-test="period-${name}" /></div>`)}
      <button class="button primary" data-test="period-show">${t("figures.show")}</button></form>`;
  }

  /** @param {any} each @param {string} name @param {string} currency */
  #row(each, name, currency) {
    const part = (/** @type {number | null} */ value) => (value === null ? "–" : percent(value));
    const seconds = (/** @type {number | null} */ value) => (value === null ? "–" : number(value, { maximumFractionDigits: 1 }));
    return html`<tr data-test="figures-row"><th scope="row">${name}</th>
      ${[
        money(each.takings_minor, currency), money(each.refunded_minor, currency), number(each.visits), part(reviewRate(each)), part(wrongRate(each)),
        number(each.disputes), number(each.shrink_units), money(each.shrink_minor, currency), seconds(each.receipt_p50_s), seconds(each.receipt_p95_s),
      ].map((text) => html`<td class="number">${text}</td>`)}</tr>`;
  }

  render() {
    const timeZone = this.store.value?.time_zone;
    return html`<div class="stack" data-test="figures">
      <div class="row" role="group" aria-label=${t("figures.period")}>${[...Object.keys(PERIODS), "between"].map((each) => html`<button class="button" data-test="period-${each}" aria-pressed=${this.period === each} @click=${() => this.#choose(each)}>${t(`period.${each}`)}</button>`)}</div>
      ${this.period === "between" ? this.#dates() : nothing}
      ${this.figures.show((told) => html`
        ${CHARTS.map((chart) => html`<section class="card" data-test="chart-${chart.name}"><div class="row spread"><h2>${t(`figures.${chart.name}`)}</h2>
          ${chart.lines.length > 1 ? html`<p class="row small" aria-hidden="true">${chart.lines.map(([name, token]) => html`<span class="line ${token.slice(2)}">${t(`figures.${name}`)}</span>`)}</p>` : nothing}</div>
          <div class="chart" data-chart=${chart.name} aria-hidden="true"></div></section>`)}
        <div class="scroll-x" tabindex="0"><table data-test="figures-table"><caption class="visually-hidden">${t("office.figures")}</caption><thead><tr><th scope="col">${t("time")}</th>
          ${["takings", "refunded", "visits", "review_rate", "wrong_rate", "disputes", "shrink", "shrink_worth", "p50", "p95"].map((each) => html`<th scope="col" class="number">${t(`figures.${each}`)}</th>`)}</tr></thead>
          <tbody>${this.#row(told.total, t("figures.total"), told.currency)}
          ${told.items.map((/** @type {any} */ each) => this.#row(each, when(each.start, told.by === "hour" ? { dateStyle: "medium", timeStyle: "short", timeZone } : { dateStyle: "medium", timeZone }), told.currency))}</tbody></table></div>`)}
    </div>`;
  }
}
customElements.define("office-figures", OfficeFigures);
