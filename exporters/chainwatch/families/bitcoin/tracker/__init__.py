"""The tip, followed between scrapes: blocks that come and go, reorganisations, mempool traffic, what is kept of it."""
