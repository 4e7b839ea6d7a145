"""Stages: producers and consumers of events, with demand going up and events coming down. Begin with `stage.py`."""
