// What can be done to tasks, from which states, and by whom; and doing it to all that a filter means.

import * as api from "./api.js";
import { confirmed, notify } from "./dialogs.js";
import { button } from "./dom.js";
import { many } from "./format.js";

export const ENDED = ["succeeded", "dead", "cancelled", "expired"];
export const STATES = ["scheduled", "pending", "running", "retrying", ...ENDED];
export const VERBS = {
  retry: { word: "Retry", from: ["retrying", "dead", "cancelled", "expired"], needs: "operate" },
  run: { word: "Run now", from: ["scheduled", "retrying"], needs: "operate" },
  cancel: { word: "Cancel", from: ["scheduled", "pending", "running", "retrying"], needs: "operate" },
  delete: { word: "Delete", from: STATES.filter((state) => state !== "running"), needs: "admin", destroys: true },
};
export const fits = (verb, task) => VERBS[verb].from.includes(task.state);

// Counts the tasks, asks, and lets the server work through them; says whether it was begun.
export async function operate(app, action, filter) {
  const { word: verb, destroys } = VERBS[action], { matched, counted } = await api.post("operations", { action, filter, dry_run: true });
  if (!matched) { notify(`${verb}: no task here is in a state for it.`, true); return false; }
  if (!(await confirmed({ verb, number: matched, destroys }))) return false;
  const { operation_id, matched: number } = await api.post("operations", { action, filter, expected: counted ? matched : undefined });
  notify(`${verb}: ${many(number, "task")}, in the background.`, false, button("stop-operation", "Stop", { "data-id": operation_id }));
  setTimeout(() => app.refresh(), 1500);
  return true;
}
