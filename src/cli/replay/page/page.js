"use strict";
// Follows the pointer over each picture: a line, and the figures of that moment.
for (const figure of document.querySelectorAll("figure")) {
  const data = JSON.parse(figure.querySelector("script").textContent);
  const picture = figure.querySelector(".picture");
  const cursor = figure.querySelector(".cursor");
  const readout = figure.querySelector(".readout");
  const cell = (row, kind, text) => {
    row.appendChild(document.createElement(kind)).textContent = text;
  };
  const latency = (ms) => {
    if (ms === null) return "–";
    return ms >= 1000 ? (ms / 1000).toFixed(1) + " s" : ms + " ms";
  };
  const isShown = (track) => {
    const box = figure.parentElement.querySelector(".k" + track.colour);
    return box === null ? true : box.checked;
  };
  const show = (event) => {
    const area = picture.getBoundingClientRect();
    const share = Math.min(1, Math.max(0, (event.clientX - area.left) / area.width));
    const place = Math.min(data.rates.length - 1, Math.floor(share * data.length / data.span));
    const time = new Date((data.begins + place * data.span) * 1000).toISOString();
    const table = document.createElement("table");
    table.createCaption().textContent =
      time.slice(0, 10) + " " + time.slice(11, 19) + ", " + data.rates[place] + " req/s";
    for (const track of data.tracks.filter(isShown)) {
      const row = table.insertRow();
      row.className = "c" + track.colour;
      row.appendChild(document.createElement("td")).appendChild(document.createElement("i"));
      cell(row, "th", track.name);
      cell(row, "td", latency(track.p95[place]));
      cell(row, "td", track.servers[place] + " servers");
    }
    readout.replaceChildren(table);
    readout.hidden = false;
    readout.style.left = share > 0.5 ? "auto" : "calc(" + 100 * share + "% + 14px)";
    readout.style.right = share > 0.5 ? "calc(" + 100 * (1 - share) + "% + 14px)" : "auto";
    cursor.setAttribute("x1", 100 * share + "%");
    cursor.setAttribute("x2", 100 * share + "%");
    cursor.style.visibility = "visible";
  };
  const hide = () => {
    readout.hidden = true;
    cursor.style.visibility = "hidden";
  };
  picture.addEventListener("pointermove", show);
  picture.addEventListener("pointerleave", hide);
}
