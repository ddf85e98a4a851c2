(() => {
  "use strict";
  const bar = document.getElementById("filters");
  if (!bar) return;
  const chosen = [...bar.querySelectorAll("select")];
  const articles = [...document.querySelectorAll("article")];
  const count = document.getElementById("shown");
  const fits = (article) => chosen.every((select) => {
    if (select.value === "") return true;
    return JSON.parse(article.getAttribute("data-" + select.name)).includes(select.value);
  });
  const show = () => {
    let n = 0;
    for (const article of articles) {
      article.hidden = !fits(article);
      n += article.hidden ? 0 : 1;
    }
    count.textContent = n + " of " + articles.length + " shown";
  };
  for (const select of chosen) select.addEventListener("change", show);
  document.getElementById("all").addEventListener("click", () => {
    for (const select of chosen) select.value = "";
    show();
  });
  window.addEventListener("hashchange", () => {
    const target = document.getElementById(location.hash.slice(1));
    if (target && target.hidden) { for (const select of chosen) select.value = ""; show(); target.scrollIntoView(); }
  });
  for (const image of document.querySelectorAll("article img")) {
    const enlarge = () => image.closest("article").classList.toggle("wide");
    image.tabIndex = 0;
    image.title = "Enlarge";
    image.addEventListener("click", enlarge);
    image.addEventListener("keydown", (event) => { if (event.key === "Enter") enlarge(); });
  }
  bar.hidden = false;
  show();
})();
