"""Tasks: functions that run in processes of their own, for an owner who awaits them. Begin with `task.py`."""
