// A picture that is small on a phone opens alone, where it can be enlarged: its lines and letters are vectors.
document.addEventListener("DOMContentLoaded", () => {
  for (const picture of document.querySelectorAll(".cell_output figure img")) {
    picture.title = "open alone";
    picture.addEventListener("click", () => { location.href = picture.src; });
  }
});
