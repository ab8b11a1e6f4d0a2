"""Every kernel beside its peers, and the pipeline's voxels per core-hour. `python -m benchmarks --help`."""
