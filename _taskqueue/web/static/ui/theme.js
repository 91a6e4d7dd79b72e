// Before the first paint, so that no light page flashes in the dark.
{
  const stored = JSON.parse(localStorage.getItem("taskqueue") ?? "{}");
  if (stored.theme && stored.theme !== "system") document.documentElement.dataset.theme = stored.theme;
  if (stored.density) document.documentElement.dataset.density = stored.density;
}
