"""The newest scorecard in the book's results: its picture, and its summary as README shows it."""

import json
from pathlib import Path

from vi_ref import plots
from vi_ref.compare import pictures, report

results = [root / "book" / "results" for root in (Path(__file__).resolve().parents[1], Path.cwd())]
newest = max(path for folder in results for path in folder.glob("scorecard-*.json"))
result = json.loads(newest.read_text(encoding="utf-8"))
Path(__file__).with_suffix(".txt").write_text(report.summary(result) + "\n", encoding="utf-8")
plots.save(pictures.scorecard(result), Path(__file__).with_suffix(".png"))
