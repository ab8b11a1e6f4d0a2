"""Raw electron-microscopy volumes to connectomes: exact, whole, simple."""
