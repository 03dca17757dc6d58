"""`curate import-scores` from a file to a column that can be filtered by."""

import json


def test_scores_from_a_file_can_be_filtered_by(curate, pool_file, tmp_path):
    curate("ingest", pool_file)
    path = tmp_path / "s.jsonl"
    rows = [{"row": n, "v": n} for n in range(26)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    shown = curate(
        "import-scores", path, "--as", "mine", "--by", "position", "--columns", "v", "--json"
    )
    assert shown.json["columns"] == {"v": "int"} and shown.json["n_missing"] == 0
    again = curate("import-scores", path, "--as", "mine", "--by", "position", "--columns", "v")
    assert again.out.startswith(f"score set {shown.json['set_id']} (stored before): mine.v")
    chosen = curate("select", "--rank", "mine.v", "--budget", "3", "--json")
    assert chosen.json["n_selected"] == 3
