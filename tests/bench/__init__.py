"""`make bench`: what a scrape, a followed log and a rendered page cost, as ratios within one run."""
