"""New code under running processes, in one step that succeeds or changes nothing. Begin with `upgrade.py`."""
