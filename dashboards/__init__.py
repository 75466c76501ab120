"""Grafana boards: what can be seen is a signal (`signals/`), where a board (`boards/`), how it looks `panels.py`.

`python -m dashboards` writes the JSON files of `json/`, which are committed.
"""
