"""The only room that knows napari, Qt and magicgui."""
