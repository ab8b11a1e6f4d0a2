"""Groups of commands; `connectome.cli` puts them together."""
