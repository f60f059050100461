/** The floor seen from above: shelves, entrance and exit, and oneself. */
import { html, nothing, svg } from "lit";
import { Stream, get } from "../common/api.js";
import { t } from "../common/i18n.js";
import { Loaded, View } from "../common/view.js";

/** @typedef {[number, number]} Point */
/** @typedef {{bin_id: string, sku: string | null, name: string | null, outline_m: Point[]}} Bin */
/** @typedef {{walkable_m: Point[] | null, entrance_m: Point[] | null, exit_m: Point[] | null, walls: {outline_m: Point[]}[], bins: Bin[]}} Floor */

const MARGIN_M = 0.4;

export class FloorMap extends View {
  static properties = { session: { type: String }, taken: { attribute: false }, position_m: { state: true }, away: { state: true } };

  constructor() {
    super();
    /** The visit. */
    this.session = "";
    /** SKUs that are in the cart. @type {string[]} */
    this.taken = [];
    /** @type {Point | null} */
    this.position_m = null;
    this.away = false;
    this.floor = new Loaded(this, /** @returns {Promise<Floor>} */ () => get("/v1/floor"));
  }

  connectedCallback() {
    super.connectedCallback();
    this.floor.load();
    this.stream = new Stream(
      `/v1/sessions/${this.session}/place/events`,
      (event, data) => {
        if (event === "place") this.position_m = data.position_m;
      },
      (state) => (this.away = state === "lost"),
    );
  }

  disconnectedCallback() {
    super.disconnectedCallback();
    this.stream?.close();
  }

  /** The product one stands nearest to. @param {Floor} floor */
  nearest(floor) {
    if (!this.position_m) return null;
    const [x, y] = this.position_m;
    let best = null;
    let least = 1.5; // metres; farther off one stands before nothing
    for (const bin of floor.bins) {
      const n = bin.outline_m.length;
      const cx = bin.outline_m.reduce((sum, point) => sum + point[0], 0) / n;
      const cy = bin.outline_m.reduce((sum, point) => sum + point[1], 0) / n;
      const away_m = Math.hypot(cx - x, cy - y);
      if (away_m < least && bin.name) [best, least] = [bin.name, away_m];
    }
    return best;
  }

  /** @param {Floor} floor */
  draw(floor) {
    const every = [
      ...(floor.walkable_m ?? []),
      ...floor.bins.flatMap((bin) => bin.outline_m),
      ...(floor.entrance_m ?? []),
      ...(floor.exit_m ?? []),
    ];
    if (!every.length) return html`<p class="muted">${t("map.none")}</p>`;
    const [xs, ys] = [every.map((point) => point[0]), every.map((point) => point[1])];
    const [left, right] = [Math.min(...xs) - MARGIN_M, Math.max(...xs) + MARGIN_M];
    const [low, high] = [Math.min(...ys) - MARGIN_M, Math.max(...ys) + MARGIN_M];
    // The world's y points up, the picture's down.
    const at = (/** @type {Point[]} */ points) => points.map(([x, y]) => `${x},${-y}`).join(" ");
    const near = this.nearest(floor);
    return html`<svg class="floor" viewBox="${left} ${-high} ${right - left} ${high - low}" role="img" aria-label=${t("map.label")}>
        ${floor.walkable_m ? svg`<polygon class="walkable" points=${at(floor.walkable_m)}></polygon>` : nothing}
        ${floor.walls.map((wall) => svg`<polyline class="wall" points=${at(wall.outline_m)}></polyline>`)}
        ${floor.bins.map(
          (bin) =>
            svg`<polygon class="bin ${bin.sku && this.taken.includes(bin.sku) ? "taken" : ""}" points=${at(bin.outline_m)}><title>${bin.name ?? ""}</title></polygon>`,
        )}
        ${floor.entrance_m ? svg`<polyline class="entrance" points=${at(floor.entrance_m)}></polyline>` : nothing}
        ${floor.exit_m ? svg`<polyline class="exit" points=${at(floor.exit_m)}></polyline>` : nothing}
        ${this.position_m
          ? svg`<g class="you" data-test="you"><circle cx=${this.position_m[0]} cy=${-this.position_m[1]} r="0.32"></circle><circle cx=${this.position_m[0]} cy=${-this.position_m[1]} r="0.16"></circle></g>`
          : nothing}
      </svg>
      <p class="small muted map-text">
        ${this.away ? t("connection.lost") : this.position_m ? (near ? t("map.near", { name: near }) : t("map.you")) : t("map.not_seen")}
      </p>
      <ul class="legend small muted" aria-hidden="true">
        <li><span class="key you"></span>${t("map.key_you")}</li>
        <li><span class="key taken"></span>${t("map.key_taken")}</li>
        <li><span class="key entrance"></span>${t("map.key_entrance")}</li>
        <li><span class="key exit"></span>${t("map.key_exit")}</li>
      </ul>`;
  }

  render() {
    if (this.floor.problem && [404, 503].includes(this.floor.problem.status))
      return html`<p class="muted">${t("map.none")}</p>`;
    return this.floor.show((floor) => this.draw(floor));
  }
}
customElements.define("floor-map", FloorMap);
