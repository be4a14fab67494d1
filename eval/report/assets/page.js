// Reads the data and draws everything, again whenever the page's width changes.
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  document.getElementById("theme").addEventListener("click", theme.next);
  theme.apply();
  const look = viewer(data);
  const draws = [curves(data), scatterPlot(data, look.open), timingPlot(data), look.draw];
  document.querySelectorAll("table.sortable").forEach(sortableTable);
  layerSwitch();
  let width = 0;
  new ResizeObserver(() => {
    const now = document.documentElement.clientWidth;
    if (now === width) return;
    width = now;
    for (const draw of draws) draw();
  }).observe(document.documentElement);
})();
