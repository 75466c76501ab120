"""How logs of nodes become streams in Loki: one pipeline per family, as promtail and as Alloy want it written."""
