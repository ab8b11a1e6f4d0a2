"""One page from the records of the benchmarks: `connectome.web.dashboard.page` writes it."""
