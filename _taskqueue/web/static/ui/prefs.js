// What this browser remembers; the server remembers nothing of it.

const KEY = "taskqueue";
export const prefs = { theme: "system", density: "default", times: "relative", keys: true, dismissed: {}, ...JSON.parse(localStorage.getItem(KEY) ?? "{}") };

export function setPref(name, value) {
  prefs[name] = value;
  localStorage.setItem(KEY, JSON.stringify(prefs));
  window.applyPrefs();
}
