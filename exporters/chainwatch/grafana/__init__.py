"""`chainwatch grafana`: our boards in a Grafana that somebody has already, by its HTTP API."""
