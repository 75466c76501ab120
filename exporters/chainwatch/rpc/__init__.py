"""What every family needs to ask a node over HTTP: address, login, certificates, one exchange, words for failures."""
