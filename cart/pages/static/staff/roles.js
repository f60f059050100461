/** Which views there are, and which of them a role is offered; what a role may do is decided by the store (`cart.accounts.SCOPES`). */

/** @typedef {"floor" | "cameras" | "visits" | "reviews" | "disputes"} ViewName */

const ON_THE_FLOOR = ["owner", "manager", "staff", "reviewer"];
const DECIDING = ["owner", "manager", "reviewer"];

/** @type {Record<ViewName, string[]>} */
const ROLES = {
  floor: [...ON_THE_FLOOR, "engineer", "viewer"],
  cameras: [...ON_THE_FLOOR, "engineer"],
  visits: ON_THE_FLOOR,
  reviews: DECIDING,
  disputes: DECIDING,
};

export const VIEWS = /** @type {ViewName[]} */ (Object.keys(ROLES));

/** Whether somebody works here at all. @param {string} role */
export function worksHere(role) {
  return ROLES.floor.includes(role);
}

/** @param {string} role @param {ViewName} view */
export function maySee(role, view) {
  return ROLES[view].includes(role);
}

/** Whether a role may look into visits, and so at whose they are. @param {string} role */
export function mayVisits(role) {
  return ON_THE_FLOOR.includes(role);
}

/** @param {string} role */
export function mayRefund(role) {
  return role === "owner" || role === "manager";
}
